use super::*;

mod joined;
mod model;
mod rules;
