//! Origin, floor relay and load generator of the benchmark: three single-threaded epoll programs in one binary.

mod args;
mod calls;
mod content;
mod load;
mod origin;
mod poll;
mod relay;
mod upload;
mod websocket;

use std::process::ExitCode;

const USAGE: &str = "\
usage: pylae-bench-load <command> [options]

  origin  HTTP/1.1 origin: /json, /api/…, /body/64k, /body/1m (any size), /echo/HEADER-NAME;
          POST /upload/SIZE and /upload/json check what is sent;
          a WebSocket handshake is granted on any path, and its messages come back
          --listen ADDRESS          default 127.0.0.1:0; the address is printed
          --grpc                    calls of gRPC instead, over HTTP/2: every message is sent back
          --awake                   never sleep, so that nobody has to wake this core (not with --grpc)

  relay   copies bytes between each client connection and one upstream connection of its own
          --listen ADDRESS          default 127.0.0.1:0; the address is printed
          --upstream ADDRESS

  load    keep-alive connections, one request at a time on each, every answer checked; prints one JSON line
          --connect ADDRESS
          --tls FILE                TLS 1.3, to a gateway with this certificate for bench.test
          --path PATH               default /json
          --method METHOD           default GET
          --upload N                send a body of N bytes, or with `json` the document of /json
                                    (with --method POST, to /upload/N)
          --chunked                 in chunks, without a length
          --header 'NAME: VALUE'    repeatable; ######## becomes the number of the request
          --numbers N               number requests modulo N; default 100 million
          --status N                default 200
          --expect PATH             the body must be what the origin answers to PATH; default: the path itself
          --require 'NAME[: VALUE]' the answer must carry this header; repeatable
          --websocket N             open a WebSocket on each connection and send messages of N bytes (below 64 KiB)
                                    instead of requests; each must come back
          --connections N           default 64
          --streams N               HTTP/2, with so many requests at once on each connection
          --grpc                    calls of gRPC that send the body and must get it back; over HTTP/2
          --warmup SECONDS          default 0.5
          --duration SECONDS        default 3
          --requests N              end after N requests instead of a duration
          --rate N                  requests per second, latency from the intended send time (open loop)
          --awake                   never sleep, so that nobody has to wake this core (not over HTTP/2)
          --gate                    after the warm-up print `ready` and wait for a line on standard input
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let result = args::Args::parse(words).and_then(|args| match command.as_str() {
        "origin" => origin::run(&args),
        "relay" => relay::run(&args),
        "load" => load::run(&args),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("unknown command {command:?}\n\n{USAGE}")),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("pylae-bench-load: {message}");
            ExitCode::FAILURE
        }
    }
}
