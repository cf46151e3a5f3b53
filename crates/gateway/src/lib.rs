//! Sockets towards devices: MQTT, HTTP and CoAP, and what nodes of Pyaiot use. A gateway reaches the product only
//! through [`hub::Hub`].

pub mod coap;
pub mod http;
pub mod hub;
pub mod link;
pub mod mqtt;
pub mod nodes;
