//! The methods that a path has.

use super::matching::index::NONE;
use super::matching::methods::Methods;
use super::matching::predicate::{FieldValues, InHead};
use super::{RouteQuery, RouteSearch, Router, Scan, Scratch};

impl Router {
    /// The value of `Allow` for the path of a request, whatever its own method is.
    pub fn allow<'s>(&self, lookup: &RouteQuery<'_>, scratch: &'s mut Scratch) -> &'s str {
        scratch.reset_for(self.id);
        let headers = InHead { fields: lookup.fields, buf: lookup.buf };
        let mut search = self.search(lookup, &headers, &mut scratch.values);
        let allowed = self.allowed(lookup, &mut search, &mut scratch.scan);
        self.methods.write(allowed, &mut scratch.allow);
        &scratch.allow
    }

    /// Methods of the routes that would take the request but for its method.
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
    /// Methods of those of `ranks` that take the request, whatever its method is.
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
