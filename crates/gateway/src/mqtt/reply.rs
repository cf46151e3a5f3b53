//! The packets that come once per connection or subscription, read and written by `mqtt-protocol-core` and shaped
//! so that the rest of the broker need not care which version speaks.

use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MaximumPacketSize, Properties, Property, ReasonString, ReceiveMaximum,
    ServerKeepAlive, SessionExpiryInterval, TopicAliasMaximum, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, SubackReasonCode,
    SubackReturnCode, UnsubackReasonCode,
};

use super::message::Attributes;
use super::properties::{self, Place};
use super::wire::{Fault, reason};
use super::{Limits, Told, Version};

/// A will as it was given.
#[derive(Debug)]
pub(super) struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub attributes: Attributes,
}

/// A CONNECT.
#[derive(Debug)]
pub(super) struct Connect {
    pub version: Version,
    pub client_id: String,
    pub clean_start: bool,
    pub keep_alive_s: u16,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    pub will: Option<Will>,
    /// How long the session outlives the connection, as asked.
    pub session_expiry_s: u32,
    /// Most unacknowledged messages the client takes.
    pub receive_max: u16,
    /// Largest packet the client takes.
    pub packet_bytes_max: usize,
    /// Topic aliases the client takes.
    pub topic_alias_max: u16,
    /// Whether reasons may be put into words.
    pub wants_reasons: bool,
    /// Whether it asks for an extended authentication, which we do not have.
    pub has_authentication_method: bool,
}

/// Which version a CONNECT speaks. An error where no answer in any version is possible or useful.
pub(super) fn version_of(body: &[u8]) -> Result<Option<Version>, Fault> {
    match body {
        [0, 4, b'M', b'Q', b'T', b'T', 4, flags, ..] | [0, 4, b'M', b'Q', b'T', b'T', 5, flags, ..] => {
            let (has_will, will_bits) = (flags & 4 != 0, flags & 0b0011_1000);
            if flags & 1 != 0 || will_bits & 0b0001_1000 == 0b0001_1000 || !has_will && will_bits != 0 {
                return Err(Fault(reason::MALFORMED, "the flags of the CONNECT contradict each other"));
            }
            Ok(Some(if body[6] == 4 { Version::V3 } else { Version::V5 }))
        }
        [0, 4, b'M', b'Q', b'T', b'T', _, _, ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => Ok(None),
        _ => Err(Fault(reason::MALFORMED, "this is no MQTT")),
    }
}

/// Whether a CONNECT that may be anything says that it speaks 5.0.
pub(super) fn says_v5(body: &[u8]) -> bool {
    body.get(6) == Some(&5)
}

/// Reads the body of a CONNECT.
pub(super) fn connect(version: Version, body: &[u8]) -> Result<Connect, Fault> {
    if version == Version::V5 {
        properties::check_connect(body)?;
    }
    let (connect, length) = match version {
        Version::V3 => v3_1_1::Connect::parse(body).map(|(packet, length)| (connect_v3(&packet), length)),
        Version::V5 => v5_0::Connect::parse(body).map(|(packet, length)| (connect_v5(&packet), length)),
    }
    .map_err(|error| match error {
        MqttError::ClientIdentifierNotValid => {
            Fault(reason::BAD_CLIENT_ID, "the client identifier is malformed")
        }
        MqttError::BadUserNameOrPassword => {
            Fault(reason::BAD_CREDENTIALS, "the user name or password is malformed")
        }
        MqttError::ProtocolError => Fault(reason::PROTOCOL_ERROR, "the CONNECT contradicts the protocol"),
        _ => Fault(reason::MALFORMED, "the CONNECT is malformed"),
    })?;
    if length != body.len() {
        return Err(Fault(reason::MALFORMED, "the CONNECT is longer than its content"));
    }
    Ok(connect)
}

fn connect_v3(packet: &v3_1_1::Connect) -> Connect {
    let will = packet.will_topic().map(|topic| Will {
        topic: topic.to_owned(),
        payload: packet.will_payload().unwrap_or_default().to_vec(),
        qos: packet.will_qos() as u8,
        retain: packet.will_retain(),
        attributes: Attributes::default(),
    });
    Connect {
        version: Version::V3,
        client_id: packet.client_id().to_owned(),
        clean_start: packet.clean_session(),
        keep_alive_s: packet.keep_alive(),
        user: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        will,
        session_expiry_s: if packet.clean_session() { 0 } else { u32::MAX },
        receive_max: u16::MAX,
        packet_bytes_max: usize::MAX,
        topic_alias_max: 0,
        wants_reasons: false,
        has_authentication_method: false,
    }
}

fn connect_v5(packet: &v5_0::Connect) -> Connect {
    let will = packet.will_topic().map(|topic| Will {
        topic: topic.to_owned(),
        payload: packet.will_payload().unwrap_or_default().to_vec(),
        qos: packet.will_qos() as u8,
        retain: packet.will_retain(),
        attributes: Attributes::of(packet.will_props()),
    });
    let mut connect = Connect {
        version: Version::V5,
        client_id: packet.client_id().to_owned(),
        clean_start: packet.clean_start(),
        keep_alive_s: packet.keep_alive(),
        user: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        will,
        session_expiry_s: 0,
        receive_max: u16::MAX,
        packet_bytes_max: usize::MAX,
        topic_alias_max: 0,
        wants_reasons: true,
        has_authentication_method: false,
    };
    for property in packet.props() {
        match property {
            Property::SessionExpiryInterval(v) => connect.session_expiry_s = v.val(),
            Property::ReceiveMaximum(v) => connect.receive_max = v.val(),
            Property::MaximumPacketSize(v) => connect.packet_bytes_max = v.val() as usize,
            Property::TopicAliasMaximum(v) => connect.topic_alias_max = v.val(),
            Property::RequestProblemInformation(v) => connect.wants_reasons = v.val() != 0,
            Property::AuthenticationMethod(_) => connect.has_authentication_method = true,
            _ => {}
        }
    }
    connect
}

/// What an accepted client is told.
#[derive(Debug)]
pub(super) struct Welcome<'a> {
    pub version: Version,
    pub session_present: bool,
    pub assigned_client_id: Option<&'a str>,
    /// If it differs from what was asked.
    pub session_expiry_s: Option<u32>,
    /// If it differs from what was asked.
    pub keep_alive_s: Option<u16>,
}

/// The CONNACK of somebody who was let in.
pub(super) fn welcome(welcome: &Welcome<'_>, limits: &Limits) -> Vec<u8> {
    const VALID: &str = "because the limits are within what the packet can say";
    if welcome.version == Version::V3 {
        return vec![0x20, 2, u8::from(welcome.session_present), 0];
    }
    let packet_bytes_max = u32::try_from(limits.packet_bytes_max).unwrap_or(u32::MAX).max(1);
    let told = limits.connack_order.map(|told| match told {
        Told::ReceiveMaximum => {
            ReceiveMaximum::new(limits.taken_unacknowledged_max.max(1)).expect(VALID).into()
        }
        Told::MaximumPacketSize => MaximumPacketSize::new(packet_bytes_max).expect(VALID).into(),
        Told::TopicAliasMaximum => TopicAliasMaximum::new(limits.topic_alias_max).expect(VALID).into(),
    });
    let mut properties: Properties = told.to_vec();
    properties
        .extend(welcome.session_expiry_s.and_then(|s| SessionExpiryInterval::new(s).ok().map(Into::into)));
    properties.extend(welcome.keep_alive_s.and_then(|s| ServerKeepAlive::new(s).ok().map(Into::into)));
    properties.extend(
        welcome.assigned_client_id.and_then(|id| AssignedClientIdentifier::new(id).ok().map(Into::into)),
    );
    let packet = v5_0::Connack::builder()
        .reason_code(ConnectReasonCode::Success)
        .session_present(welcome.session_present)
        .props(properties)
        .build();
    packet.expect("because every field is given").to_continuous_buffer()
}

/// The CONNACK of somebody who is not let in.
pub(super) fn unwelcome(version: Version, code: u8, why: &str) -> Vec<u8> {
    if version == Version::V3 {
        let code = match code {
            reason::UNSUPPORTED_VERSION => ConnectReturnCode::UnacceptableProtocolVersion,
            reason::BAD_CLIENT_ID => ConnectReturnCode::IdentifierRejected,
            reason::BAD_CREDENTIALS => ConnectReturnCode::BadUserNameOrPassword,
            reason::UNAVAILABLE | reason::QUOTA | reason::CONNECTION_RATE => {
                ConnectReturnCode::ServerUnavailable
            }
            _ => ConnectReturnCode::NotAuthorized,
        };
        return vec![0x20, 2, 0, code as u8];
    }
    let code = ConnectReasonCode::try_from(code).unwrap_or(ConnectReasonCode::UnspecifiedError);
    let packet =
        v5_0::Connack::builder().reason_code(code).session_present(false).props(reason_string(why)).build();
    packet.map(|p| p.to_continuous_buffer()).unwrap_or_default()
}

/// A DISCONNECT; nothing for 3.1.1, where servers have none.
pub(super) fn disconnect(version: Version, code: u8, why: &str) -> Vec<u8> {
    let Ok(code) = DisconnectReasonCode::try_from(code) else { return Vec::new() };
    if version == Version::V3 {
        return Vec::new();
    }
    let packet = v5_0::Disconnect::builder().reason_code(code).props(reason_string(why)).build();
    packet.map(|p| p.to_continuous_buffer()).unwrap_or_default()
}

fn reason_string(why: &str) -> Properties {
    let text = (!why.is_empty()).then(|| ReasonString::new(why).ok()).flatten();
    text.into_iter().map(Into::into).collect()
}

/// One filter of a SUBSCRIBE.
#[derive(Debug)]
pub(super) struct Wish {
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    /// 0: retained messages are sent; 1: only for a new subscription; 2: never.
    pub retain_handling: u8,
}

/// A SUBSCRIBE.
#[derive(Debug)]
pub(super) struct Subscribe {
    pub packet_id: u16,
    pub id: Option<u32>,
    pub wishes: Vec<Wish>,
}

/// Reads the body of a SUBSCRIBE.
pub(super) fn subscribe(version: Version, body: &[u8]) -> Result<Subscribe, Fault> {
    const BAD: Fault = Fault(reason::MALFORMED, "the SUBSCRIBE is malformed");
    check_properties(version, body, Place::Subscribe)?;
    let (packet_id, entries, properties) = match version {
        Version::V3 => {
            let (packet, length) = v3_1_1::Subscribe::parse(body).map_err(|_| BAD)?;
            (length == body.len()).then_some(()).ok_or(BAD)?;
            (packet.packet_id(), packet.entries().clone(), Properties::new())
        }
        Version::V5 => {
            let (packet, length) = v5_0::Subscribe::parse(body).map_err(|_| BAD)?;
            (length == body.len()).then_some(()).ok_or(BAD)?;
            (packet.packet_id(), packet.entries().clone(), packet.props().clone())
        }
    };
    not_zero(packet_id)?;
    let mut id = None;
    for property in &properties {
        if let Property::SubscriptionIdentifier(v) = property {
            id = Some(v.val());
        }
    }
    let wishes = entries.iter().map(|entry| {
        let options = entry.sub_opts();
        Wish {
            filter: entry.topic_filter().to_owned(),
            qos: options.qos() as u8,
            no_local: options.nl(),
            retain_as_published: options.rap(),
            retain_handling: options.rh() as u8,
        }
    });
    let wishes: Vec<Wish> = wishes.collect();
    let has_options = |wish: &Wish| wish.no_local || wish.retain_as_published || wish.retain_handling > 0;
    if version == Version::V3 && wishes.iter().any(has_options) {
        // There these bits are reserved (3.1.1, section 3.8.3).
        return Err(BAD);
    }
    not_nul(wishes.iter().map(|wish| wish.filter.as_str()))?;
    Ok(Subscribe { packet_id, id, wishes })
}

/// Reads the body of an UNSUBSCRIBE: its packet identifier and filters.
pub(super) fn unsubscribe(version: Version, body: &[u8]) -> Result<(u16, Vec<String>), Fault> {
    const BAD: Fault = Fault(reason::MALFORMED, "the UNSUBSCRIBE is malformed");
    check_properties(version, body, Place::Unsubscribe)?;
    let (packet_id, filters, length): (u16, Vec<String>, usize) = match version {
        Version::V3 => v3_1_1::Unsubscribe::parse(body)
            .map(|(p, n)| (p.packet_id(), p.entries().iter().map(|f| f.as_str().to_owned()).collect(), n)),
        Version::V5 => v5_0::Unsubscribe::parse(body)
            .map(|(p, n)| (p.packet_id(), p.entries().iter().map(|f| f.as_str().to_owned()).collect(), n)),
    }
    .map_err(|_| BAD)?;
    not_zero(packet_id)?;
    not_nul(filters.iter().map(String::as_str))?;
    if length == body.len() { Ok((packet_id, filters)) } else { Err(BAD) }
}

/// Those behind a packet identifier.
fn check_properties(version: Version, body: &[u8], place: Place) -> Result<(), Fault> {
    match (version, body.get(2..)) {
        (Version::V5, Some(rest)) => properties::check(rest, place).map(drop),
        (Version::V5, None) | (Version::V3, _) => Ok(()),
    }
}

fn not_nul<'a>(mut filters: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
    if filters.any(|filter| filter.contains('\0')) {
        return Err(Fault(reason::MALFORMED, "a topic filter has no NUL"));
    }
    Ok(())
}

fn not_zero(packet_id: u16) -> Result<(), Fault> {
    if packet_id == 0 { Err(Fault(reason::PROTOCOL_ERROR, "0 is no packet identifier")) } else { Ok(()) }
}

/// A SUBACK with a code for each filter.
pub(super) fn subscribed(version: Version, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    const VALID: &str = "because the packet identifier is not 0 and there is a code for each filter";
    match version {
        Version::V3 => {
            let codes =
                codes.iter().map(|c| SubackReturnCode::try_from(*c).unwrap_or(SubackReturnCode::Failure));
            let packet = v3_1_1::Suback::builder().packet_id(packet_id).return_codes(codes.collect()).build();
            packet.expect(VALID).to_continuous_buffer()
        }
        Version::V5 => {
            let codes = codes
                .iter()
                .map(|c| SubackReasonCode::try_from(*c).unwrap_or(SubackReasonCode::UnspecifiedError));
            let packet = v5_0::Suback::builder().packet_id(packet_id).reason_codes(codes.collect()).build();
            packet.expect(VALID).to_continuous_buffer()
        }
    }
}

/// An UNSUBACK with a code for each filter.
pub(super) fn unsubscribed(version: Version, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    const VALID: &str = "because the packet identifier is not 0 and there is a code for each filter";
    match version {
        Version::V3 => {
            v3_1_1::Unsuback::builder().packet_id(packet_id).build().expect(VALID).to_continuous_buffer()
        }
        Version::V5 => {
            let codes =
                codes.iter().map(|c| UnsubackReasonCode::try_from(*c).unwrap_or(UnsubackReasonCode::Success));
            let packet = v5_0::Unsuback::builder().packet_id(packet_id).reason_codes(codes.collect()).build();
            packet.expect(VALID).to_continuous_buffer()
        }
    }
}

/// What a client's DISCONNECT says: its reason, and a new session expiry. 3.1.1 has neither.
pub(super) fn farewell(version: Version, body: &[u8]) -> Result<(u8, Option<u32>), Fault> {
    const BAD: Fault = Fault(reason::MALFORMED, "the DISCONNECT is malformed");
    if version == Version::V3 {
        return if body.is_empty() { Ok((reason::SUCCESS, None)) } else { Err(BAD) };
    }
    if let Some(rest @ [_, ..]) = body.get(1..) {
        properties::check(rest, Place::Disconnect)?;
    }
    let (packet, length) = v5_0::Disconnect::parse(body).map_err(|_| BAD)?;
    if length != body.len() {
        return Err(BAD);
    }
    let expiry = packet.props().iter().flatten().find_map(|property| match property {
        Property::SessionExpiryInterval(v) => Some(v.val()),
        _ => None,
    });
    Ok((packet.reason_code().map_or(reason::SUCCESS, |code| code as u8), expiry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_told_in_the_order_of_the_setting() {
        let hello = Welcome {
            version: Version::V5,
            session_present: false,
            assigned_client_id: None,
            session_expiry_s: None,
            keep_alive_s: Some(60),
        };
        let mut limits = Limits {
            taken_unacknowledged_max: 20,
            packet_bytes_max: 0x0102_0304,
            topic_alias_max: 10,
            ..Limits::default()
        };
        let expected = [0x20, 17, 0, 0, 14, 0x21, 0, 20, 0x27, 1, 2, 3, 4, 0x22, 0, 10, 0x13, 0, 60];
        assert_eq!(welcome(&hello, &limits), expected);
        limits.connack_order = [Told::TopicAliasMaximum, Told::ReceiveMaximum, Told::MaximumPacketSize];
        let expected = [0x20, 17, 0, 0, 14, 0x22, 0, 10, 0x21, 0, 20, 0x27, 1, 2, 3, 4, 0x13, 0, 60];
        assert_eq!(welcome(&hello, &limits), expected);
    }
}
