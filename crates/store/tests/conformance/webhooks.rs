//! Webhooks, and the deliveries to them in their order.

use motehub_domain::effects::Save;
use motehub_domain::id::DeliveryId;
use motehub_domain::time::Span;
use motehub_domain::webhook::delivery::{DELIVERED_KEPT, WAITING_MAX};
use motehub_domain::webhook::{Answer, Delivery, DeliveryState, Mail, Recipient, Stage, Webhook};
use motehub_store::{DeliveryCounts, StoreError};
use serde_json::json;

use crate::world::{NOW, World, id};

fn webhook(number: u128, name: &str) -> Webhook {
    Webhook {
        id: id(number),
        name: name.into(),
        url: "https://example.org/hook?a=1".into(),
        changes: vec!["device_*".into(), "task_moved".into()],
        devices: Some("tag=kitchen".into()),
        enabled: true,
        disabled_because: None,
        secret: 1,
        rotated_at: None,
        after: 7,
        created_at: NOW,
        revision: 1,
    }
}

fn delivery(number: u128, of: &Webhook) -> Delivery {
    Delivery::new(id(number), of.id, "device_offline", json!({ "n": number as u64, "x": "<b>" }), NOW)
}

fn save(delivery: &Delivery) -> Save {
    Save::Delivery(Box::new(delivery.clone()))
}

fn moved(delivery: &Delivery, state: DeliveryState) -> Delivery {
    let answer = Some(Answer::new(Some(503), "busy"));
    Delivery { state, tries: delivery.tries + 1, answer, revision: delivery.revision + 1, ..delivery.clone() }
}

pub(crate) async fn webhooks_are_guarded_and_have_unique_names(world: &mut World) {
    let (ci, lab) = (webhook(1, "CI"), webhook(2, "lab"));
    let of = |webhook: &Webhook| Save::Webhook(Box::new(webhook.clone()));
    world.save([of(&lab), of(&ci)]).await.unwrap();
    assert_eq!(world.store.webhooks().await, Ok(vec![ci.clone(), lab.clone()]));
    assert_eq!(world.save([of(&webhook(3, "ci"))]).await, Err(StoreError::Taken { field: "name" }));
    let edited = Webhook {
        changes: Vec::new(),
        devices: None,
        enabled: false,
        disabled_because: Some("it answered 410".into()),
        secret: 2,
        rotated_at: Some(NOW + Span(5)),
        revision: 2,
        ..ci.clone()
    };
    world.save([of(&edited)]).await.unwrap();
    assert_eq!(world.save([of(&edited)]).await, Err(StoreError::Conflict { what: "webhook" }));
    world.reopen().await;
    assert_eq!(world.store.webhook(ci.id).await, Ok(Some(edited)));
    world.save([Save::DeleteWebhook(ci.id)]).await.unwrap();
    assert_eq!(world.store.webhooks().await, Ok(vec![lab]));
}

pub(crate) async fn deliveries_keep_their_order_and_go_behind_it_when_sent_again(world: &mut World) {
    let (ci, lab) = (webhook(1, "ci"), webhook(2, "lab"));
    let of = |webhook: &Webhook| Save::Webhook(Box::new(webhook.clone()));
    // Their ids are in another order than that in which they come.
    let all = [13, 12, 11].map(|number| delivery(number, &ci));
    let (other, orphan) = (delivery(20, &lab), delivery(30, &webhook(9, "gone")));
    let saves = [of(&ci), of(&lab), save(&all[0]), save(&other), save(&all[1]), save(&orphan), save(&all[2])];
    world.save(saves).await.unwrap();
    assert_eq!(world.store.delivery(orphan.id).await, Ok(None), "its webhook is gone");
    let to = Recipient::Webhook(ci.id);
    world.reopen().await;
    assert_eq!(world.store.next_delivery(to).await, Ok(Some(all[0].clone())));
    let later = moved(&all[0], DeliveryState::Waiting(NOW + Span::seconds(5)));
    world.save([save(&later)]).await.unwrap();
    assert_eq!(world.save([save(&later)]).await, Err(StoreError::Conflict { what: "delivery" }));
    assert_eq!(world.store.next_delivery(to).await, Ok(Some(later.clone())), "it keeps its turn");
    let dead = moved(&later, DeliveryState::Dead(NOW + Span(9)));
    let done = moved(&all[1], DeliveryState::Delivered(NOW + Span(9)));
    world.save([save(&dead), save(&done)]).await.unwrap();
    let counts = DeliveryCounts { waiting: 1, delivered: 1, dead: 1 };
    assert_eq!(world.store.delivery_counts(to).await, Ok(counts));
    let again = Delivery { state: DeliveryState::Waiting(NOW), revision: dead.revision + 1, ..dead };
    world.save([save(&again)]).await.unwrap();
    let waiting = world.store.deliveries(to, Stage::Waiting, false, 0, 10).await;
    assert_eq!(waiting, Ok((vec![all[2].clone(), again.clone()], 2)));
    let newest = world.store.deliveries(to, Stage::Waiting, true, 0, 1).await;
    assert_eq!(newest, Ok((vec![again], 2)));
    assert_eq!(world.store.next_delivery(Recipient::Webhook(lab.id)).await, Ok(Some(other)));
    world.save([Save::DeleteWebhook(ci.id)]).await.unwrap();
    assert_eq!(world.store.delivery_counts(to).await, Ok(DeliveryCounts::default()));
}

pub(crate) async fn too_many_deliveries_are_dead_letters_and_old_ones_make_room(world: &mut World) {
    let ci = webhook(1, "ci");
    let first: DeliveryId = id(100);
    let many = (0..=WAITING_MAX as u128).map(|number| save(&delivery(100 + number, &ci)));
    world
        .save([Save::Webhook(Box::new(ci.clone()))].into_iter().chain(many).collect::<Vec<_>>())
        .await
        .unwrap();
    let to = Recipient::Webhook(ci.id);
    let full = DeliveryCounts { waiting: WAITING_MAX as i64, delivered: 0, dead: 1 };
    assert_eq!(world.store.delivery_counts(to).await, Ok(full));
    let (dead, _) = world.store.deliveries(to, Stage::Dead, false, 0, 10).await.unwrap();
    assert_eq!(dead[0].answer.as_ref().unwrap().text, "too many waited for it");
    let done = (0..=DELIVERED_KEPT as u128)
        .map(|number| save(&moved(&delivery(100 + number, &ci), DeliveryState::Delivered(NOW))));
    world.save(done.collect::<Vec<_>>()).await.unwrap();
    let counts = world.store.delivery_counts(to).await.unwrap();
    assert_eq!(counts.delivered, DELIVERED_KEPT as i64);
    assert_eq!(world.store.delivery(first).await, Ok(None));
}

pub(crate) async fn a_page_and_its_total_are_of_one_moment(world: &mut World) {
    const ALL: i64 = 200;
    let mail = Mail { to: vec!["ada@example.org".into()], subject: "hot".into(), text: "31 °C\n".into() };
    let write = async {
        for number in 0..ALL as u128 {
            world.save([save(&Delivery::mail(id(number), &mail, NOW).unwrap())]).await.unwrap();
        }
    };
    let read = async {
        let mut total = 0;
        while total < ALL {
            let page = world.store.deliveries(Recipient::Mail, Stage::Waiting, false, 0, 1000).await.unwrap();
            assert_eq!(page.0.len() as i64, page.1);
            total = page.1;
        }
    };
    tokio::join!(write, read);
}

pub(crate) async fn mails_wait_beside_webhooks(world: &mut World) {
    let mail = Mail { to: vec!["ada@example.org".into()], subject: "hot".into(), text: "31 °C\n".into() };
    let sent = Delivery::mail(id(1), &mail, NOW).unwrap();
    world.save([save(&sent)]).await.unwrap();
    world.reopen().await;
    let next = world.store.next_delivery(Recipient::Mail).await.unwrap().unwrap();
    assert_eq!(next, sent);
    assert_eq!(next.as_mail(), Some(mail));
}
