//! pylae-policies
