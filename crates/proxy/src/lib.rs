//! pylae-proxy
