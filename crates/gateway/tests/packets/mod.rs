//! Packets as one line of text, in both directions, for transcripts and listener tests. Written with the client
//! side of `mqtt-protocol-core`, so it does not share the broker's own reading and writing of PUBLISH.
#![expect(clippy::unwrap_used, reason = "a test may")]

use mqtt_protocol_core::mqtt::packet::{
    ContentType, CorrelationData, MaximumPacketSize, MessageExpiryInterval, PayloadFormat,
    PayloadFormatIndicator, Properties, Property, Qos, ReceiveMaximum, RequestProblemInformation,
    ResponseTopic, RetainHandling, SessionExpiryInterval, SubEntry, SubOpts, SubscriptionIdentifier,
    TopicAlias, TopicAliasMaximum, UserProperty, WillDelayInterval, v3_1_1, v5_0,
};

/// What stands before the words that are not options.
pub(crate) struct Line<'a> {
    /// The kind of packet.
    pub kind: &'a str,
    options: Vec<(&'a str, &'a str)>,
    flags: Vec<&'a str>,
    /// From the first word that is no option.
    pub rest: &'a str,
}

const FLAGS: [&str; 5] = ["dup", "retain", "text", "quiet", "willretain"];

impl<'a> Line<'a> {
    /// Splits a line into options and rest.
    pub(crate) fn parse(line: &'a str) -> Self {
        let (kind, mut rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut this = Self { kind, options: Vec::new(), flags: Vec::new(), rest };
        loop {
            rest = rest.trim_start();
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            match word.split_once('=') {
                Some((name, value)) if name.chars().all(|c| c.is_ascii_lowercase()) => {
                    this.options.push((name, value));
                }
                None if FLAGS.contains(&word) => this.flags.push(word),
                _ => break,
            }
            rest = after;
        }
        this.rest = rest;
        this
    }
    /// The value of an option.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.options.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }
    /// The values of an option that may be given several times.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(n, _)| *n == name).map(|(_, v)| *v)
    }
    /// The value of an option as a number.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.get(name).map(|v| v.parse().unwrap_or_else(|_| panic!("{name}={v} is no number")))
    }
    fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }
}

fn qos(number: u32) -> Qos {
    Qos::try_from(number as u8).unwrap()
}

/// The bytes of a client's packet.
pub(crate) fn encode(is_v5: bool, text: &str) -> Vec<u8> {
    let line = Line::parse(text);
    let id = line.get("id").and_then(|id| id.parse().ok()).unwrap_or(0);
    let code = line.rest.strip_prefix("0x").map(|hex| u8::from_str_radix(hex, 16).unwrap());
    match line.kind {
        "CONNECT" => connect(is_v5, &line),
        "PUBLISH" => publish(is_v5, &line),
        "SUBSCRIBE" => subscribe(is_v5, &line, id),
        "UNSUBSCRIBE" => {
            let filters: Vec<&str> = line.rest.split(' ').collect();
            if is_v5 {
                let packet = v5_0::Unsubscribe::builder().packet_id(id).entries(filters).unwrap().build();
                packet.unwrap().to_continuous_buffer()
            } else {
                let packet = v3_1_1::Unsubscribe::builder().packet_id(id).entries(filters).unwrap().build();
                packet.unwrap().to_continuous_buffer()
            }
        }
        "PUBACK" => acknowledgement(0x40, id, code),
        "PUBREC" => acknowledgement(0x50, id, code),
        "PUBREL" => acknowledgement(0x62, id, code),
        "PUBCOMP" => acknowledgement(0x70, id, code),
        "PINGREQ" => vec![0xc0, 0],
        "DISCONNECT" => {
            let expiry = line.number("expiry");
            match (code.or(expiry.map(|_| 0)), expiry) {
                (None, _) => vec![0xe0, 0],
                (Some(code), None) => vec![0xe0, 1, code],
                (Some(code), Some(expiry)) => {
                    [[0xe0, 7, code, 5, 0x11].as_slice(), &expiry.to_be_bytes()].concat()
                }
            }
        }
        "BYTES" => bytes(line.rest),
        "PACKET" => {
            let bytes = bytes(line.rest);
            framed(bytes[0], &bytes[1..])
        }
        other => panic!("a client does not say {other}"),
    }
}

/// Bytes in hexadecimal; a text in quotes stands for itself behind its length in two bytes.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, part) in text.split('"').enumerate() {
        if i % 2 == 1 {
            bytes.extend_from_slice(&(part.len() as u16).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        } else {
            let digits: Vec<u8> = part.bytes().filter(|byte| *byte != b' ').collect();
            let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            bytes.extend(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
        }
    }
    bytes
}

fn acknowledgement(first: u8, id: u16, code: Option<u8>) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    match code {
        None => vec![first, 2, high, low],
        Some(code) => vec![first, 3, high, low, code],
    }
}

fn connect(is_v5: bool, line: &Line<'_>) -> Vec<u8> {
    let clean = line.number("clean") != Some(0);
    let keep_alive = line.number("keepalive").unwrap_or(60) as u16;
    let client_id = line.get("id").unwrap_or("");
    let will = line.get("will").map(|will| will.split_once(':').expect("will=topic:payload"));
    let will_qos = qos(line.number("willqos").unwrap_or(0));
    let will_retain = line.has("willretain");
    macro_rules! build {
        ($builder:expr) => {{
            let mut builder =
                $builder.client_id(client_id).unwrap().clean_start(clean).keep_alive(keep_alive);
            if let Some(user) = line.get("user") {
                builder = builder.user_name(user).unwrap();
                builder = builder.password(line.get("password").unwrap_or("secret")).unwrap();
            }
            if let Some((topic, payload)) = will {
                builder = builder.will_message(topic, payload, will_qos, will_retain).unwrap();
            }
            builder
        }};
    }
    if !is_v5 {
        return build!(v3_1_1::Connect::builder()).build().unwrap().to_continuous_buffer();
    }
    let mut properties = Properties::new();
    properties.extend(line.number("expiry").map(|v| SessionExpiryInterval::new(v).unwrap().into()));
    properties.extend(line.number("aliases").map(|v| TopicAliasMaximum::new(v as u16).unwrap().into()));
    properties.extend(line.number("receive").map(|v| ReceiveMaximum::new(v as u16).unwrap().into()));
    properties.extend(line.number("packet").map(|v| MaximumPacketSize::new(v).unwrap().into()));
    if line.has("quiet") {
        properties.push(RequestProblemInformation::new(0).unwrap().into());
    }
    let mut builder = build!(v5_0::Connect::builder()).props(properties);
    if let Some(delay) = line.number("willdelay") {
        builder = builder.will_props(vec![WillDelayInterval::new(delay).unwrap().into()]);
    }
    builder.build().unwrap().to_continuous_buffer()
}

fn publish(is_v5: bool, line: &Line<'_>) -> Vec<u8> {
    let (topic, payload) = line.rest.split_once(' ').unwrap_or((line.rest, ""));
    let topic = if topic == "-" { "" } else { topic };
    let payload = match payload.strip_prefix("size=") {
        Some(size) => "x".repeat(size.parse().unwrap()),
        None => payload.to_owned(),
    };
    let level = line.number("qos").unwrap_or(0);
    let first = 0x30 | u8::from(line.has("dup")) << 3 | (level as u8) << 1 | u8::from(line.has("retain"));
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    if level > 0 {
        body.extend_from_slice(&(line.number("id").unwrap() as u16).to_be_bytes());
    }
    if is_v5 {
        let mut properties: Vec<Property> = Vec::new();
        properties.extend(line.number("alias").map(|v| TopicAlias::new(v as u16).unwrap().into()));
        properties.extend(line.number("expiry").map(|v| MessageExpiryInterval::new(v).unwrap().into()));
        properties.extend(line.number("sub").map(|v| SubscriptionIdentifier::new(v).unwrap().into()));
        properties.extend(line.get("content").map(|v| ContentType::new(v).unwrap().into()));
        properties.extend(line.get("response").map(|v| ResponseTopic::new(v).unwrap().into()));
        properties.extend(line.get("correlation").map(|v| CorrelationData::new(v).unwrap().into()));
        properties.extend(line.all("property").map(|v| {
            let (key, value) = v.split_once(':').unwrap();
            UserProperty::new(key, value).unwrap().into()
        }));
        if line.has("text") {
            properties.push(PayloadFormatIndicator::new(PayloadFormat::String).unwrap().into());
        }
        let bytes: Vec<u8> = properties.iter().flat_map(Property::to_continuous_buffer).collect();
        body.push(u8::try_from(bytes.len()).expect("short properties"));
        body.extend(bytes);
    }
    body.extend_from_slice(payload.as_bytes());
    framed(first, &body)
}

/// A packet of a first byte and a body.
pub(crate) fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    while length > 127 {
        bytes.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(body);
    bytes
}

fn subscribe(is_v5: bool, line: &Line<'_>, id: u16) -> Vec<u8> {
    let entries = line.rest.split(' ').map(|wish| {
        let mut parts = wish.split(':');
        let filter = parts.next().unwrap();
        let mut options = SubOpts::new().set_qos(qos(parts.next().unwrap_or("0").parse().unwrap()));
        for part in parts {
            options = match part {
                "nl" => options.set_nl(true),
                "rap" => options.set_rap(true),
                "rh1" => options.set_rh(RetainHandling::SendRetainedIfNotExists),
                "rh2" => options.set_rh(RetainHandling::DoNotSendRetained),
                other => panic!("{other}?"),
            };
        }
        SubEntry::new(filter, options).unwrap()
    });
    let entries: Vec<SubEntry> = entries.collect();
    if !is_v5 {
        let packet = v3_1_1::Subscribe::builder().packet_id(id).entries(entries).build();
        return packet.unwrap().to_continuous_buffer();
    }
    let mut properties = Properties::new();
    properties.extend(line.number("sub").map(|v| SubscriptionIdentifier::new(v).unwrap().into()));
    let packet = v5_0::Subscribe::builder().packet_id(id).entries(entries).props(properties).build();
    packet.unwrap().to_continuous_buffer()
}

/// Takes the first packet of the server out of a buffer, as text; `None` if there is none in full.
pub(crate) fn decode(is_v5: bool, buffer: &mut Vec<u8>) -> Option<String> {
    let packet = take(buffer)?;
    let body_at = 1 + packet[1..].iter().position(|byte| *byte < 128).unwrap() + 1;
    Some(text(is_v5, packet[0], &packet[body_at..]))
}

/// Takes the first packet of the server out of a buffer; `None` if there is none in full.
pub(crate) fn take(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    buffer.first()?;
    let mut length = 0;
    let mut body_at = 1;
    loop {
        let byte = *buffer.get(body_at)?;
        length |= usize::from(byte & 127) << (7 * (body_at - 1));
        body_at += 1;
        if byte < 128 {
            break;
        }
    }
    if buffer.len() < body_at + length {
        return None;
    }
    Some(buffer.drain(..body_at + length).collect())
}

fn text(is_v5: bool, first: u8, body: &[u8]) -> String {
    let id = || u16::from_be_bytes([body[0], body[1]]);
    match first >> 4 {
        2 => connack(is_v5, body),
        3 => publish_text(is_v5, first & 15, body),
        4 if is_v5 => {
            let packet = v5_0::Puback::parse(body).unwrap().0;
            format!(
                "PUBACK id={}{}",
                id(),
                reason(packet.reason_code().map(|c| c as u8), packet.props().as_ref())
            )
        }
        5 if is_v5 => {
            let packet = v5_0::Pubrec::parse(body).unwrap().0;
            format!(
                "PUBREC id={}{}",
                id(),
                reason(packet.reason_code().map(|c| c as u8), packet.props().as_ref())
            )
        }
        4 => format!("PUBACK id={}", v3_1_1::Puback::parse(body).unwrap().0.packet_id()),
        5 => format!("PUBREC id={}", v3_1_1::Pubrec::parse(body).unwrap().0.packet_id()),
        6 => format!("PUBREL id={}{}", id(), reason(body.get(2).copied(), None)),
        7 => format!("PUBCOMP id={}{}", id(), reason(body.get(2).copied(), None)),
        9 => {
            let codes = if is_v5 { &body[3..] } else { &body[2..] };
            format!("SUBACK id={}{}", id(), codes.iter().map(|c| code(*c)).collect::<String>())
        }
        11 => {
            let codes = body.get(3..).unwrap_or_default();
            format!("UNSUBACK id={}{}", id(), codes.iter().map(|c| code(*c)).collect::<String>())
        }
        13 => "PINGRESP".to_owned(),
        14 => {
            let packet = v5_0::Disconnect::parse(body).unwrap().0;
            format!("DISCONNECT{}", reason(packet.reason_code().map(|c| c as u8), packet.props().as_ref()))
        }
        other => panic!("a server does not send packets of type {other}"),
    }
}

fn code(code: u8) -> String {
    if code < 3 { format!(" {code}") } else { format!(" {code:#04x}") }
}

fn reason(code: Option<u8>, properties: Option<&Properties>) -> String {
    let mut text = match code {
        None | Some(0) => String::new(),
        Some(code) => format!(" {code:#04x}"),
    };
    for property in properties.into_iter().flatten() {
        if let Property::ReasonString(why) = property {
            text += &format!(" \"{}\"", why.val());
        }
    }
    text
}

fn connack(is_v5: bool, body: &[u8]) -> String {
    if !is_v5 {
        let present = if body[0] == 1 { " present" } else { "" };
        return if body[1] == 0 { format!("CONNACK ok{present}") } else { format!("CONNACK {}", body[1]) };
    }
    let packet = v5_0::Connack::parse(body).unwrap().0;
    let mut text = match packet.reason_code() as u8 {
        0 => "CONNACK ok".to_owned(),
        code => format!("CONNACK {code:#04x}"),
    };
    if packet.session_present() {
        text += " present";
    }
    for property in packet.props() {
        text += &match property {
            Property::AssignedClientIdentifier(v) => format!(" assigned={}", v.val()),
            Property::SessionExpiryInterval(v) => format!(" expiry={}", v.val()),
            Property::ServerKeepAlive(v) => format!(" keepalive={}", v.val()),
            Property::ReasonString(v) => format!(" \"{}\"", v.val()),
            _ => String::new(),
        };
    }
    text
}

fn publish_text(is_v5: bool, flags: u8, body: &[u8]) -> String {
    let mut text = "PUBLISH".to_owned();
    let level = flags >> 1 & 3;
    let (topic, packet_id, properties, payload) = if is_v5 {
        let packet = v5_0::Publish::parse(flags, body.into()).unwrap().0;
        (
            packet.topic_name().to_owned(),
            packet.packet_id(),
            packet.props().clone(),
            packet.payload().as_slice().to_vec(),
        )
    } else {
        let packet = v3_1_1::Publish::parse(flags, body.into()).unwrap().0;
        (packet.topic_name().to_owned(), packet.packet_id(), Vec::new(), packet.payload().as_slice().to_vec())
    };
    if level > 0 {
        text += &format!(" qos={level} id={}", packet_id.unwrap());
    }
    for (bit, name) in [(8, " dup"), (1, " retain")] {
        if flags & bit != 0 {
            text += name;
        }
    }
    for property in &properties {
        text += &match property {
            Property::MessageExpiryInterval(v) => format!(" expiry={}", v.val()),
            Property::SubscriptionIdentifier(v) => format!(" sub={}", v.val()),
            Property::TopicAlias(v) => format!(" alias={}", v.val()),
            Property::ContentType(v) => format!(" content={}", v.val()),
            Property::ResponseTopic(v) => format!(" response={}", v.val()),
            Property::CorrelationData(v) => format!(" correlation={}", String::from_utf8_lossy(v.val())),
            Property::UserProperty(v) => format!(" property={}:{}", v.key(), v.val()),
            Property::PayloadFormatIndicator(_) => " text".to_owned(),
            other => panic!("a PUBLISH of the server has {other}"),
        };
    }
    text += &format!(" {}", if topic.is_empty() { "-" } else { &topic });
    if !payload.is_empty() {
        let payload = String::from_utf8_lossy(&payload);
        text += &if payload.len() > 100 { format!(" size={}", payload.len()) } else { format!(" {payload}") };
    }
    text
}
