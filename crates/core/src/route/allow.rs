//! The methods that a path allows.

use super::matching::index::NONE;
use super::matching::methods::Methods;
use super::matching::predicate::{FieldValues, InHead};
use super::{RouteQuery, RouteSearch, Router, Scan, Scratch};

impl Router {
    /// Returns the value of `Allow` for the path of a request, whatever its method.
    pub fn allow<'s>(&self, lookup: &RouteQuery<'_>, scratch: &'s mut Scratch) -> &'s str {
        scratch.reset_for(self.id);
        let headers = InHead { fields: lookup.fields, buf: lookup.buf };
        let mut search = self.search(lookup, &headers, &mut scratch.values);
        let allowed = self.allowed(lookup, &mut search, &mut scratch.scan);
        self.methods.write(allowed, &mut scratch.allow);
        &scratch.allow
    }

    /// Returns the methods of the routes that match the request apart from its method.
    pub(super) fn allowed<H: FieldValues>(
        &self,
        lookup: &RouteQuery<'_>,
        search: &mut RouteSearch<'_, H>,
        scan: &mut Scan,
    ) -> Methods {
        let mut allowed = 0;
        let _ = self.visit(lookup.host, lookup.path, scan, &mut |ranks| {
            allowed |= search.allowed(ranks);
            NONE
        });
        allowed
    }
}

impl<H: FieldValues> RouteSearch<'_, H> {
    /// Returns the methods of those of `ranks` that match the request apart from its method.
    fn allowed(&mut self, ranks: &[u32]) -> Methods {
        let mut all = 0;
        for &rank in ranks {
            let entry = self.router.entries[rank as usize];
            if self.matches(entry) {
                all |= entry.methods;
            }
        }
        all
    }
}
