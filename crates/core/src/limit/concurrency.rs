//! Concurrency limits: at most N exchanges in flight per key.
//!
//! A node on its own counts them in a table ([`InFlightTable`]). The nodes of a cluster share *places*: the room for
//! one exchange in flight. The store knows how many each node has ([`Places`]), and a node gives them to its exchanges
//! ([`SharedInFlight`]).

mod in_flight;
mod permit;
mod places;
mod shared;
mod table;
mod ticket;
mod view;

pub use self::in_flight::InFlightTable;
pub use self::permit::ConcurrencyPermit;
pub use self::places::{MOST_HOLDERS, PLACES_LIFETIME, Places, PlacesAnswer, PlacesCall};
pub use self::shared::{PendingPlace, PlaceOutcome, PlaceVerdict, SharedInFlight};
pub use self::table::ConcurrencyIdentity;
pub use self::view::PlaceCall;
