//! Sockets towards devices: MQTT, HTTP and CoAP, what nodes of Pyaiot use, boards that are called, and units
//! on plain TCP. A gateway reaches the product only through [`hub::Hub`].

pub mod balancer;
pub mod boards;
pub mod coap;
pub mod http;
pub mod hub;
pub mod link;
pub mod mqtt;
pub mod nodes;
pub mod units;
