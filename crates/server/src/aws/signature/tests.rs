//! Against signatures that botocore made, the SDK of AWS for Python.

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use axum::response::IntoResponse;

use super::*;

/// 2027-01-15T08:00:00Z, when they were made.
const NOW: Time = Time(1_800_000_000_000);
const SECRET: &str = "wJalrXUtnFEMI_K7MDENG-bPxRfiCYEXAMPLEKEYabc";

struct Vector {
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    signed: &'static str,
    signature: &'static str,
    body: &'static str,
}

const VECTORS: [Vector; 3] = [
    Vector {
        method: "GET",
        path: "/things/lamp-1/shadow",
        headers: &[],
        signed: "host;x-amz-date",
        signature: "fdabf8579167f3955ef08f62955355c5209029bd38c201967154ac1b85aee5bf",
        body: "",
    },
    Vector {
        method: "POST",
        path: "/things/hall%20lamp%2F2/shadow?name=a%3Ab",
        headers: &[("content-type", "application/json"), ("x-note", "  two   words ")],
        signed: "content-type;host;x-amz-date;x-note",
        signature: "4a8b15a7947ba7bc7ea6393cc3144bb654167097f5cb5ff1420e0465b2aad2b8",
        body: r#"{"state":{"desired":{"on":true}}}"#,
    },
    Vector {
        method: "GET",
        path: "/api/things/shadow/ListNamedShadowsForThing/lamp-1?pageSize=2&nextToken=a%2Bb",
        headers: &[],
        signed: "host;x-amz-date",
        signature: "6851d3ee7c9a18b3e4c582eae44105f53d20172a5da0373fc128bdaa666586d7",
        body: "",
    },
];

impl Vector {
    fn request(&self) -> Parts {
        let scope = "01K9XYZABCDEFGHJKMNPQRSTVW/20270115/us-east-1/iotdata/aws4_request";
        let Self { signed, signature, .. } = self;
        let shown = format!("{ALGORITHM} Credential={scope}, SignedHeaders={signed}, Signature={signature}");
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        let request = request
            .header("host", "hub.example:8443")
            .header("x-amz-date", "20270115T080000Z")
            .header("authorization", shown);
        request.body(Body::empty()).unwrap().into_parts().0
    }
}

#[test]
fn what_botocore_signed_is_verified_and_nothing_else() {
    for vector in VECTORS {
        let request = vector.request();
        let signed = read(&request.headers, NOW).unwrap();
        assert_eq!(signed.key_id, "01K9XYZABCDEFGHJKMNPQRSTVW");
        let body = vector.body.as_bytes();
        assert!(signed.is_by(SECRET, &request, body), "{}", vector.path);
        assert!(!signed.is_by("another", &request, body), "another secret");
        assert!(!signed.is_by(SECRET, &request, b"another"), "another body");
        let changed = |change: &dyn Fn(&mut Parts)| {
            let mut request = vector.request();
            change(&mut request);
            read(&request.headers, NOW).is_ok_and(|signed| signed.is_by(SECRET, &request, body))
        };
        assert!(changed(&|_| {}));
        type Change<'c> = (&'static str, &'c dyn Fn(&mut Parts));
        let changes: [Change<'_>; 8] = [
            ("method", &|it| it.method = axum::http::Method::DELETE),
            ("path", &|it| it.uri = "/things/lamp-2/shadow".parse().unwrap()),
            ("query", &|it| {
                let sign = if vector.path.contains('?') { '&' } else { '?' };
                it.uri = format!("{}{sign}name=b", vector.path).parse().unwrap();
            }),
            ("host", &|it| drop(it.headers.insert("host", HeaderValue::from_static("other:8443")))),
            ("second host", &|it| {
                it.headers.append("host", HeaderValue::from_static("other"));
            }),
            ("time", &|it| {
                it.headers.insert("x-amz-date", HeaderValue::from_static("20270115T080001Z"));
            }),
            ("payload", &|it| {
                it.headers.insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"));
            }),
            ("missing host", &|it| drop(it.headers.remove("host"))),
        ];
        for (what, change) in changes {
            assert!(!changed(change), "{} with a changed {what}", vector.path);
        }
    }
}

#[test]
fn a_signature_holds_for_a_quarter_of_an_hour() {
    let request = VECTORS[0].request();
    for (minutes, is_taken) in
        [(0, true), (15, true), (-15, true), (16, false), (-16, false), (1 << 40, false)]
    {
        assert_eq!(read(&request.headers, NOW + Span::minutes(minutes)).is_ok(), is_taken, "{minutes}");
    }
}

#[test]
fn what_is_no_signature_is_refused() {
    let whole = VECTORS[0].request().headers["authorization"].to_str().unwrap().to_owned();
    let cases = [
        ("", "MissingAuthenticationTokenException"),
        ("Bearer mht_x", "MissingAuthenticationTokenException"),
        ("AWS4-HMAC-SHA256", "MissingAuthenticationTokenException"),
        ("AWS4-HMAC-SHA256 Credential=a", "IncompleteSignatureException"),
        (&whole.replace("Signature=fd", "Signature=xx"), "IncompleteSignatureException"),
        (&whole.replace("Signature=fd", "Signature=f"), "IncompleteSignatureException"),
        (&whole.replace("iotdata", "s3"), "IncompleteSignatureException"),
        (&whole.replace("/us-east-1", ""), "IncompleteSignatureException"),
        (&whole.replace("20270115/", "20270114/"), "IncompleteSignatureException"),
        (&whole.replace("20270115/", "/"), "IncompleteSignatureException"),
        (&whole.replace("host;x-amz-date", "host"), "IncompleteSignatureException"),
        (&whole.replace("host;x-amz-date", "x-amz-date"), "IncompleteSignatureException"),
        (&whole.replace("host;x-amz-date", "x-amz-date;host"), "IncompleteSignatureException"),
    ];
    for (shown, expected) in cases {
        let mut headers = VECTORS[0].request().headers;
        headers.insert("authorization", HeaderValue::from_str(shown).unwrap());
        let refused = read(&headers, NOW).expect_err(shown).into_response();
        assert_eq!(refused.headers()["x-amzn-errortype"], expected, "{shown}");
    }
    for (name, value) in [("x-amz-security-token", "t"), ("x-amz-date", "20270115"), ("x-amz-date", "é")] {
        let mut headers = VECTORS[0].request().headers;
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        assert!(read(&headers, NOW).is_err(), "{name}: {value}");
    }
}
