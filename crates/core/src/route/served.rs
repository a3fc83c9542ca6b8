//! The hosts that the gateway serves.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use memchr::memchr_iter;

use super::matching::rule::Host;
use crate::Problem;

/// The hosts that the gateway serves.
#[derive(Debug)]
pub struct ServedHosts {
    exact: HashSet<Box<[u8]>, RandomState>,
    /// Suffixes of hosts, each with a leading dot.
    suffixes: HashSet<Box<[u8]>, RandomState>,
}

impl ServedHosts {
    /// Parses `hosts`, written as in routes. Returns None for an empty list, which means that all hosts are served.
    /// Problems have paths relative to the list.
    pub fn build(hosts: &[String]) -> Result<Option<Self>, Vec<Problem>> {
        let mut served = Self { exact: HashSet::default(), suffixes: HashSet::default() };
        let mut problems = Vec::new();
        for (index, text) in hosts.iter().enumerate() {
            match Host::read(text) {
                Ok(Host::Exact(name)) => _ = served.exact.insert(name.as_bytes().into()),
                Ok(Host::Suffix(suffix)) => _ = served.suffixes.insert(suffix.as_bytes().into()),
                // No text parses as all hosts.
                Ok(Host::Any) => {}
                Err(message) => problems.push(Problem::at(format!("[{index}]"), message)),
            }
        }
        if problems.is_empty() { Ok((!hosts.is_empty()).then_some(served)) } else { Err(problems) }
    }

    /// Returns true if `host`, in canonical form and without port, is served.
    pub fn has(&self, host: &[u8]) -> bool {
        let in_front = |dot: usize| dot > 0 && self.suffixes.contains(&host[dot..]);
        self.exact.contains(host) || (!self.suffixes.is_empty() && memchr_iter(b'.', host).any(in_front))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(hosts: &[&str]) -> ServedHosts {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        ServedHosts::build(&hosts).unwrap().unwrap()
    }

    #[test]
    fn names_and_what_ends_in_them() {
        let served = served(&["example.org", "*.example.com", "*.b.example.org", "[::1]"]);
        for host in ["example.org", "a.example.com", "a.b.example.com", "x.b.example.org", "[::1]"] {
            assert!(served.has(host.as_bytes()), "{host}");
        }
        for host in ["", "a.example.org", "example.com", ".example.com", "aexample.com", "b.example.org", "[::2]"] {
            assert!(!served.has(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn no_name_is_no_bound_and_a_bad_one_is_told_by_its_place() {
        assert!(ServedHosts::build(&[]).unwrap().is_none());
        let problems = ServedHosts::build(&["a.example".into(), "*".into(), "A.example".into()]).unwrap_err();
        assert_eq!(problems.iter().map(|problem| &*problem.path).collect::<Vec<_>>(), ["[1]", "[2]"]);
    }
}
