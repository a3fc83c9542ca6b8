//! Reads the configuration of a policy from the plan's JSON, and writes it back.

use pylae_core::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) fn read<C: DeserializeOwned>(config: &Value) -> Result<C, Vec<Problem>> {
    C::deserialize(config).map_err(|error| vec![Problem::at("", error.to_string())])
}

pub(crate) fn write<C: Serialize>(config: C) -> Result<Value, Vec<Problem>> {
    serde_json::to_value(config).map_err(|error| vec![Problem::at("", error.to_string())])
}
