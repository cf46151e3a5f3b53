//! Sockets towards devices: MQTT, HTTP and CoAP. A gateway reaches the product only through [`hub::Hub`].

pub mod coap;
pub mod http;
pub mod hub;
pub mod link;
pub mod mqtt;
