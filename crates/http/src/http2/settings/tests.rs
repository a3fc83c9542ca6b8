use super::*;

fn read(settings: &mut Settings, list: &[(u16, u32)], from_server: bool) -> Result<(), Http2Code> {
    let payload: Vec<u8> =
        list.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    settings.read(&payload, from_server).map_err(|error| error.code)
}

#[test]
fn settings_are_taken_in_in_their_order() {
    let mut settings = Settings::default();
    let all =
        [(1, 0), (2, 0), (3, 100), (4, MAX_WINDOW), (5, 1 << 20), (6, 9000), (8, 1), (9, 1), (0xFFFF, 7), (3, 50)];
    assert_eq!(read(&mut settings, &all, true), Ok(()));
    let expected = Settings {
        header_table_size: 0,
        enable_push: false,
        max_concurrent_streams: Some(50),
        initial_window_size: MAX_WINDOW,
        max_frame_size: 1 << 20,
        max_header_list_size: Some(9000),
        enable_connect_protocol: true,
    };
    assert_eq!(settings, expected);
    assert_eq!(read(&mut settings, &[], true), Ok(()));
    assert_eq!(settings, expected);
}

#[test]
fn values_out_of_range_are_refused() {
    let refused = |list: &[(u16, u32)], from_server| read(&mut Settings::default(), list, from_server).err();
    assert_eq!(refused(&[(2, 2)], false), Some(Http2Code::PROTOCOL_ERROR));
    assert_eq!(refused(&[(2, 1)], true), Some(Http2Code::PROTOCOL_ERROR));
    assert_eq!(refused(&[(2, 1)], false), None);
    assert_eq!(refused(&[(4, MAX_WINDOW + 1)], false), Some(Http2Code::FLOW_CONTROL_ERROR));
    assert_eq!(refused(&[(5, (1 << 14) - 1)], false), Some(Http2Code::PROTOCOL_ERROR));
    assert_eq!(refused(&[(5, 1 << 24)], false), Some(Http2Code::PROTOCOL_ERROR));
    assert_eq!(refused(&[(5, (1 << 24) - 1)], false), None);
    assert_eq!(refused(&[(8, 2)], true), Some(Http2Code::PROTOCOL_ERROR));
    assert_eq!(refused(&[(8, 1), (8, 0)], true), Some(Http2Code::PROTOCOL_ERROR));
    assert_eq!(refused(&[(9, 2)], true), Some(Http2Code::PROTOCOL_ERROR));
}
