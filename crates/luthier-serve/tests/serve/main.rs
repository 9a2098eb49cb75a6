//! The server as its clients meet it: raw HTTP/1.1 and HTTP/2 over a socket.

mod caller;
mod client;
mod feedback;
mod grpc;
mod limits;
mod observing;
mod openapi;
mod proto;
mod protocol;
mod shutdown;
mod speed;
mod stage;
mod table;
mod versions;
