//! What is sent to OpenTelemetry collectors with OTLP. Workers encode it and put it into lanes; a thread of
//! `background/export` takes it from there and sends it.

pub(crate) mod attributes;
pub(crate) mod exporters;
pub(crate) mod figures;
pub(crate) mod lanes;
pub(crate) mod metrics;
pub(crate) mod protobuf;
pub(crate) mod reader;
pub(crate) mod records;
pub(crate) mod resource;

pub use figures::ExportStats;
