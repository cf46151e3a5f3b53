//! Mail: sent in its turn, tried again, and visible where the mail server refuses it.

use motehub_domain::time::Span;
use serde_json::json;

use crate::support::Hub;
use crate::support::smtp::Smtp;

const DELIVERIES: &str = "/webhooks/mail/deliveries";

#[tokio::test]
async fn mail_is_sent_in_its_turn_and_what_is_refused_can_be_seen_and_sent_again() {
    let smtp = Smtp::start().await;
    let hub = Hub::start_with_mail(smtp.address).await;
    let state = hub.get("/mail").await.json();
    assert_eq!(
        (&state["server"], &state["from"]),
        (&json!(smtp.address.to_string()), &json!("hub@example.org"))
    );
    let mail = |subject: &str| json!({ "to": ["ada@example.org", "bo@example.org"], "subject": subject, "text": ".\nKüche: 31 °C\n" });
    assert_eq!(hub.post("/mail", mail("Wärme")).await.status, 202);
    let taken = smtp.taken(1).await[0].clone();
    assert_eq!(taken.to, ["ada@example.org", "bo@example.org"]);
    assert!(
        taken.text.contains("From: Motehub <hub@example.org>") && taken.text.contains("@motehub>"),
        "{}",
        taken.text
    );
    assert!(!taken.text.contains("Wärme"), "headers are ASCII: {}", taken.text);

    // Busy: it is tried again, and what is behind it waits.
    smtp.refuses(Some("451 try later"));
    hub.post("/mail", mail("one")).await;
    hub.post("/mail", mail("two")).await;
    let waiting = hub
        .until("it was tried", || async {
            let list = hub.get(DELIVERIES).await.json();
            (list["items"][0]["tries"] == 1).then_some(list)
        })
        .await;
    assert_eq!((&waiting["total"], &waiting["items"][0]["status"]), (&json!(2), &json!(451)));
    smtp.refuses(None);
    hub.clock.advance(Span::seconds(10));
    let subjects = smtp.taken(3).await.into_iter().skip(1).map(|mail| mail.text.contains("Subject: one"));
    assert_eq!(subjects.collect::<Vec<_>>(), [true, false]);

    // Refused for good: a dead letter.
    smtp.refuses(Some("550 no such user"));
    hub.post("/mail", mail("three")).await;
    let dead = hub
        .until("a dead letter", || async {
            let list = hub.get(&format!("{DELIVERIES}?state=dead")).await.json();
            (list["total"] == 1).then_some(list)
        })
        .await;
    assert!(dead["items"][0]["answer"].as_str().unwrap().contains("no such user"), "{dead}");
    smtp.refuses(None);
    let again = hub.post(&format!("{DELIVERIES}/resend"), json!({})).await;
    assert_eq!(again.json(), json!({ "resent": 1 }));
    smtp.taken(4).await;
    hub.is_well().await;
}

#[tokio::test]
async fn without_a_mail_server_and_for_no_address_it_is_refused() {
    let hub = Hub::start().await;
    let mail = |to: &str, subject: &str| json!({ "to": [to], "subject": subject, "text": "x" });
    hub.post("/mail", mail("ada@example.org", "x")).await.is(409, "no_mail");
    assert_eq!(hub.get("/mail").await.json()["server"], json!(null));
    let smtp = Smtp::start().await;
    let hub = Hub::start_with_mail(smtp.address).await;
    hub.post("/mail", mail("ada", "x")).await.refuses("to", "is no address");
    hub.post("/mail", mail("a@b\r\nBcc: eve@x", "x")).await.refuses("to", "is no address");
    hub.post("/mail", mail("a@b", "x\r\nBcc: eve@x")).await.refuses("subject", "one line");
    hub.post("/mail", json!({ "to": [], "subject": "x" })).await.refuses("to", "addresses");
}
