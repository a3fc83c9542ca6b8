//! The addresses of services outside the workers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long addresses of a name are used again. A client asks for them before each call, kept connection or not.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// Finds addresses as `ureq` does, which starts a thread for each call that has a time limit, but only for names, and
/// once for a while.
#[derive(Debug, Default)]
pub(super) struct KnownAddresses {
    resolver: DefaultResolver,
    latest: Mutex<Option<(String, Instant, ResolvedSocketAddrs)>>,
}

impl Resolver for KnownAddresses {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let wanted = uri.scheme().zip(uri.authority());
        let Some(name) = wanted.and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority))
        else {
            return self.resolver.resolve(uri, config, timeout);
        };
        if let Some(address) = literal(&name) {
            let mut found = self.empty();
            found.push(address);
            return Ok(found);
        }
        if let Some((known, since, found)) = &*self.latest.lock()
            && *known == name
            && since.elapsed() < KNOWN_FOR
        {
            return Ok(found.clone());
        }
        let found = self.resolver.resolve(uri, config, timeout)?;
        *self.latest.lock() = Some((name, Instant::now(), found.clone()));
        Ok(found)
    }
}

/// The address that a host and port are, if the host is no name.
fn literal(host_and_port: &str) -> Option<SocketAddr> {
    let (host, port) = host_and_port.rsplit_once(':')?;
    let host: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use ureq::Timeout;

    use super::*;

    fn resolve(resolver: &KnownAddresses, uri: &'static str) -> Result<Vec<SocketAddr>, String> {
        let timeout =
            NextTimeout { after: Duration::from_secs(5).into(), reason: Timeout::Global, ..NextTimeout::default() };
        let found = resolver.resolve(&Uri::from_static(uri), &Config::default(), timeout);
        found.map(|found| found.to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_are_no_names() {
        let resolver = KnownAddresses::default();
        for (uri, address) in [
            ("http://10.0.0.7/v1", "10.0.0.7:80"),
            ("https://10.0.0.7/v1", "10.0.0.7:443"),
            ("http://10.0.0.7:4318/v1", "10.0.0.7:4318"),
            ("https://[fd00::1]:4318", "[fd00::1]:4318"),
        ] {
            assert_eq!(resolve(&resolver, uri), Ok(vec![address.parse().unwrap()]), "{uri}");
        }
        assert!(resolver.latest.lock().is_none());
    }

    #[test]
    fn names_are_looked_up_once_for_a_while() {
        let resolver = KnownAddresses::default();
        let found = resolve(&resolver, "http://localhost:4318").unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 4318), "{found:?}");
        let mut marked = resolver.empty();
        marked.push("10.0.0.7:1".parse().unwrap());
        resolver.latest.lock().as_mut().unwrap().2 = marked;
        assert_eq!(resolve(&resolver, "http://localhost:4318/other"), Ok(vec!["10.0.0.7:1".parse().unwrap()]));
        assert_eq!(resolve(&resolver, "http://localhost:4319").unwrap()[0].port(), 4319);
        let past = Instant::now().checked_sub(KNOWN_FOR).unwrap();
        resolver.latest.lock().as_mut().unwrap().1 = past;
        assert_eq!(resolve(&resolver, "http://localhost:4319").unwrap()[0].port(), 4319);
        assert!(resolver.latest.lock().as_ref().unwrap().1 > past);
    }

    #[test]
    fn a_name_that_is_none_is_an_error() {
        assert!(resolve(&KnownAddresses::default(), "http://nobody.invalid:1").is_err());
        assert!(resolve(&KnownAddresses::default(), "/path").is_err());
    }
}
