use super::canonical_address;

#[test]
fn equal_addresses_give_equal_bytes() {
    let canonical = |uri: &str| canonical_address(uri.as_bytes()).map(|address| String::from_utf8(address).unwrap());
    for (uri, expected) in [
        ("https://shop.example/a", "https://shop.example/a"),
        ("HTTPS://SHOP.example:443/a?b=c#d", "https://shop.example/a"),
        ("https://shop.example/a#d?x", "https://shop.example/a"),
        ("http://shop.example:80", "http://shop.example/"),
        ("http://shop.example:443/", "http://shop.example:443/"),
        ("https://shop.example./%7ea/./b/../%3a", "https://shop.example/~a/%3A"),
        ("https://[::0001]:8443/a%2Fb", "https://[::1]:8443/a%2Fb"),
    ] {
        assert_eq!(canonical(uri).as_deref(), Some(expected), "{uri}");
    }
    for uri in ["", "/a", "*", "//shop.example/a", "wss://shop.example/a", "https://", "https:///a", "https://u@h/a"] {
        assert_eq!(canonical(uri), None, "{uri}");
    }
}
