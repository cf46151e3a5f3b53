//! Sockets towards devices: MQTT and HTTP. A gateway reaches the product only through [`hub::Hub`].

pub mod http;
pub mod hub;
pub mod link;
pub mod mqtt;
