//! The server as its clients meet it: raw HTTP/1.1 over a socket.

mod client;
mod limits;
mod observing;
mod protocol;
mod shutdown;
mod speed;
mod stage;
