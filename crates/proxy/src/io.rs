//! Sockets, buffers, body readers, deadlines and clocks.

pub(crate) mod body_reader;
pub(crate) mod buffers;
pub(crate) mod client_watch;
pub(crate) mod clock;
pub(crate) mod connect;
pub(crate) mod deadline;
pub(crate) mod dns;
pub(crate) mod fresh;
pub(crate) mod h2_stream;
pub(crate) mod shortage;
pub(crate) mod socket;
pub(crate) mod task_pool;
pub(crate) mod tls;
pub(crate) mod unread;
