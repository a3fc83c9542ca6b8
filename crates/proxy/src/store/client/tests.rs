use std::cell::Cell;
use std::rc::Rc;

use pylae_core::plan::{Seconds, StoreKind};
use redis::Value;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::super::call::{Script, ScriptArg, StoreValue};
use super::super::fixture::Valkey;
use super::*;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

static ECHO: Script = Script::new("echo", "return {KEYS[1], ARGV[1], tonumber(ARGV[2]), false}");
static COUNT: Script = Script::new("count", "return redis.call('INCRBY', KEYS[1], ARGV[1])");
static APPEND: Script = Script::new("append", "return redis.call('XADD', KEYS[1], '*', 'what', ARGV[1])");
static FAIL: Script = Script::new("fail", "return redis.call('LPUSH', KEYS[1], 1)");

/// A store, driven until this is dropped.
struct Driven {
    store: Arc<Store>,
    log: Arc<Log>,
    ended: Rc<Cell<bool>>,
    stop: Option<watch::Sender<()>>,
}

impl Driven {
    fn start(plan: &ClusterPlan) -> Self {
        let log = Arc::<Log>::default();
        let store = Store::new(plan, &log).map_err(|problems| format!("{problems:?}")).unwrap();
        let (stop, stopped) = watch::channel(());
        let ended = Rc::new(Cell::new(false));
        let (driving, end) = (Arc::clone(&store), Rc::clone(&ended));
        tokio::task::spawn_local(async move {
            driving.drive(stopped).await;
            end.set(true);
        });
        Self { store, log, ended, stop: Some(stop) }
    }

    async fn available(plan: &ClusterPlan) -> Self {
        let driven = Self::start(plan);
        driven.becomes(true).await;
        driven
    }

    async fn becomes(&self, available: bool) {
        let mut reach = self.store.reach();
        let met = timeout(PATIENCE, reach.wait_for(|now| (*now == Reach::All) == available)).await;
        assert!(met.is_ok(), "{:?}", self.records());
    }

    async fn says(&self, what: &str) {
        let mut records = Vec::new();
        let said = timeout(PATIENCE, async {
            loop {
                records.extend(self.records());
                if records.iter().any(|record: &String| record.contains(what)) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(said.await.is_ok(), "{records:?}");
    }

    fn records(&self) -> Vec<String> {
        let records = self.log.take().unwrap_or_default();
        records.into_iter().map(|record| format!("{} {}", record.event, record.message)).collect()
    }

    async fn count(&self, key: &str, by: i64) -> StoreResult {
        self.store.run(vec![count(self.store.key(key), by)]).await.remove(0)
    }

    async fn stop(mut self) {
        self.stop = None;
        until(|| self.ended.get()).await;
    }
}

fn count(key: Vec<u8>, by: i64) -> ScriptCall {
    ScriptCall { script: &COUNT, key, args: vec![ScriptArg::Integer(by)] }
}

async fn until(mut condition: impl FnMut() -> bool) {
    let met = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, met).await.unwrap();
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn results_are_in_the_order_of_the_calls() {
    run(async {
        let server = Valkey::start(&[]).await;
        let driven = Driven::available(&server.plan(StoreKind::Single)).await;
        let call = |number: i64| ScriptCall {
            script: &ECHO,
            key: format!("key {number}").into_bytes(),
            args: vec![b"a\r\n\0b".to_vec().into(), number.into()],
        };
        let results = driven.store.run((0..300).map(call).collect()).await;
        for (number, result) in (0..300).zip(results) {
            let parts = result.unwrap();
            let expected = [
                StoreValue::Bytes(format!("key {number}").into_bytes()),
                StoreValue::Bytes(b"a\r\n\0b".to_vec()),
                StoreValue::Integer(number),
                StoreValue::Nil,
            ];
            assert_eq!(parts.as_array(), Some(&expected[..]));
        }
        assert_eq!(driven.store.run(Vec::new()).await, [], "no call is no request");
    });
}

#[test]
fn scripts_that_the_server_has_lost_are_loaded_again() {
    run(async {
        let server = Valkey::start(&[]).await;
        let driven = Driven::available(&server.plan(StoreKind::Single)).await;
        for number in 1..4 {
            assert_eq!(driven.count("a", 1).await, Ok(StoreValue::Integer(number)));
            server.ask("SCRIPT FLUSH").await.unwrap();
        }
    });
}

#[test]
fn what_the_server_refuses_is_said_with_the_name_of_the_script() {
    run(async {
        let server = Valkey::start(&[]).await;
        let driven = Driven::available(&server.plan(StoreKind::Single)).await;
        let key = driven.store.key("a");
        let calls =
            vec![count(key.clone(), 1), ScriptCall { script: &FAIL, key: key.clone(), args: vec![] }, count(key, 1)];
        let results = driven.store.run(calls).await;
        assert_eq!((&results[0], &results[2]), (&Ok(StoreValue::Integer(1)), &Ok(StoreValue::Integer(2))));
        let Err(StoreError::Refused(what)) = &results[1] else { panic!("{results:?}") };
        assert!(what.starts_with("fail: WRONGTYPE"), "{what}");
        assert!(driven.store.is_available());
    });
}

#[test]
fn while_the_server_is_gone_calls_fail_at_once_and_go_on_once_it_is_back() {
    run(async {
        let mut server = Valkey::start(&[]).await;
        let driven = Driven::available(&server.plan(StoreKind::Single)).await;
        for _ in 0..3 {
            server.kill();
            driven.becomes(false).await;
            assert_eq!(driven.count("a", 1).await, Err(StoreError::Unavailable));
            assert!(server.restart().await);
            driven.becomes(true).await;
            assert_eq!(driven.count("a", 1).await, Ok(StoreValue::Integer(1)));
        }
        driven.says("store_unavailable the store of cluster test is not available: 127.0.0.1:").await;
    });
}

#[test]
fn a_gateway_starts_without_its_store() {
    run(async {
        let mut server = Valkey::start(&[]).await;
        server.kill();
        let driven = Driven::start(&server.plan(StoreKind::Single));
        driven.store.attempted(PATIENCE).await;
        assert!(!driven.store.is_available());
        driven.says("Connection refused").await;
        assert!(server.restart().await);
        driven.becomes(true).await;
        driven.says("store_available").await;
    });
}

#[test]
fn a_server_that_does_not_answer_is_given_up_until_it_does() {
    run(async {
        let server = Valkey::start(&[]).await;
        let mut plan = server.plan(StoreKind::Single);
        let driven = Driven::available(&plan).await;
        drop(driven);
        plan.timeout = Seconds(Duration::from_millis(300));
        let driven = Driven::available(&plan).await;
        server.freeze(true);
        assert_eq!(driven.count("a", 1).await, Err(StoreError::TimedOut));
        driven.becomes(false).await;
        assert_eq!(driven.count("a", 1).await, Err(StoreError::Unavailable));
        let stats = driven.store.stats();
        assert_eq!((stats.calls, stats.durations.count()), (2, 0));
        let errors: Vec<_> = stats.errors.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(errors, [("timeout", 1), ("unavailable", 1)], "each call counts once");
        assert!(!stats.available && stats.problem.is_some());
        server.freeze(false);
        driven.becomes(true).await;
        assert!(matches!(driven.count("b", 1).await, Ok(StoreValue::Integer(1))));
        let stats = driven.store.stats();
        assert_eq!((stats.calls, stats.durations.count(), stats.waiting), (3, 1, 0));
        assert!(stats.available && stats.problem.is_none() && stats.connections >= 2);
    });
}

#[test]
fn no_more_than_a_bounded_number_of_requests_wait() {
    run(async {
        let server = Valkey::start(&[]).await;
        let driven = Driven::available(&server.plan(StoreKind::Single)).await;
        server.freeze(true);
        let waiting: Vec<_> = (0..MAX_REQUESTS)
            .map(|_| {
                let store = Arc::clone(&driven.store);
                tokio::task::spawn_local(async move { store.run(vec![count(store.key("a"), 1)]).await.remove(0) })
            })
            .collect();
        until(|| driven.store.room.available_permits() == 0).await;
        assert_eq!(driven.count("a", 1).await, Err(StoreError::Busy));
        server.freeze(false);
        for one in waiting {
            let result = one.await.unwrap();
            assert!(matches!(result, Ok(_) | Err(StoreError::TimedOut | StoreError::Unavailable)), "{result:?}");
        }
        until(|| driven.store.room.available_permits() == MAX_REQUESTS).await;
    });
}

#[test]
fn a_request_that_nobody_waits_for_gives_its_place_back() {
    run(async {
        let server = Valkey::start(&[]).await;
        let driven = Driven::available(&server.plan(StoreKind::Single)).await;
        for _ in 0..10 {
            let call = vec![count(driven.store.key("a"), 1)];
            tokio::select! {
                biased;
                _ = driven.store.run(call) => panic!("there is an answer already"),
                () = std::future::ready(()) => {}
            }
        }
        until(|| driven.store.room.available_permits() == MAX_REQUESTS).await;
    });
}

#[test]
fn what_too_few_replicas_have_is_said() {
    run(async {
        let server = Valkey::start(&[]).await;
        let mut plan = server.plan(StoreKind::Single);
        plan.wait_replicas = 1;
        plan.timeout = Seconds(Duration::from_secs(1));
        let driven = Driven::available(&plan).await;
        let call = || vec![count(driven.store.key("a"), 1)];
        // The server gets to know the script: a call that has to be sent twice waits twice for replicas.
        assert_eq!(driven.store.run(call()).await, [Ok(StoreValue::Integer(1))]);
        let result = driven.store.ask_replicated(call()).all().await.remove(0);
        assert!(matches!(result, Err(StoreError::NotReplicated | StoreError::TimedOut)), "{result:?}");
        assert!(driven.store.is_available(), "the server itself answers");
        assert_eq!(driven.store.run(call()).await, [Ok(StoreValue::Integer(3))], "it was counted all the same");
        let option = ["--replicaof", &format!("127.0.0.1 {}", server.port)];
        let _replica = Valkey::start(&option).await;
        let replicated = async { while driven.store.ask_replicated(call()).all().await.remove(0).is_err() {} };
        timeout(PATIENCE, replicated).await.unwrap();
    });
}

#[test]
fn streams_are_read_as_they_grow() {
    run(async {
        let mut server = Valkey::start(&[]).await;
        let driven = Driven::available(&server.plan(StoreKind::Single)).await;
        let store = Arc::clone(&driven.store);
        let append = |what: &str| ScriptCall {
            script: &APPEND,
            key: store.key("events"),
            args: vec![what.as_bytes().to_vec().into()],
        };
        let fields = |what: &str| vec![(b"what".to_vec(), what.as_bytes().to_vec())];
        store.run(vec![append("one"), append("two"), append("three")]).await;
        let read = |after, count| store.read_stream(store.key("events"), after, count);
        let first = read(StreamId::default(), 2).await.unwrap();
        assert_eq!(first.iter().map(|entry| entry.fields.clone()).collect::<Vec<_>>(), [fields("one"), fields("two")]);
        let third = read(first[1].id, 10).await.unwrap();
        assert_eq!(third[0].fields, fields("three"));
        let last = third[0].id;
        let (later, appended) = tokio::join!(read(last, 10), store.run(vec![append("later")]));
        assert_eq!(later.unwrap()[0].fields, fields("later"));
        let StoreValue::Bytes(id) = appended[0].clone().unwrap() else { panic!("{appended:?}") };
        assert!(std::str::from_utf8(&id).unwrap().parse::<StreamId>().unwrap() > last);
        let again = tokio::join!(read(StreamId { time: u64::MAX, sequence: 0 }, 1), async { server.kill() }).0;
        assert_eq!(again, Err(StoreError::Unavailable));
    });
}

#[test]
fn a_wrong_password_and_a_user_without_rights_are_said() {
    run(async {
        let rules = ["--requirepass", "right", "--user", "pylae", "on", ">word", "~pylae:*", "+@all"];
        let server = Valkey::start(&rules).await;
        let mut plan = server.plan(StoreKind::Single);
        Driven::start(&plan).says("NOAUTH").await;
        plan.password = Some("wrong".to_owned());
        Driven::start(&plan).says("Password authentication failed").await;
        plan.password = Some("right".to_owned());
        Driven::available(&plan).await;
        (plan.user, plan.password) = (Some("pylae".to_owned()), Some("word".to_owned()));
        let driven = Driven::available(&plan).await;
        assert_eq!(driven.count("a", 1).await, Ok(StoreValue::Integer(1)));
        let foreign = driven.store.run(vec![count(b"other".to_vec(), 1)]).await.remove(0);
        let Err(StoreError::Refused(what)) = foreign else { panic!("{foreign:?}") };
        assert!(what.contains("NOPERM"), "{what}");
    });
}

#[test]
fn a_server_of_another_kind_is_said() {
    run(async {
        let server = Valkey::start(&[]).await;
        Driven::start(&server.plan(StoreKind::Cluster)).says("write valkey:// in place of valkey+cluster://").await;
        let replica = Valkey::start(&["--replicaof", "127.0.0.1 1"]).await;
        Driven::start(&replica.plan(StoreKind::Single)).says("cannot be written to").await;
    });
}

#[test]
fn nodes_are_counted_and_leave_when_they_stop() {
    run(async {
        let server = Valkey::start(&[]).await;
        let plan = server.plan(StoreKind::Single);
        let one = Driven::available(&plan).await;
        let two = Driven::available(&plan).await;
        assert_eq!(two.store.nodes(), 2, "it knows at once");
        until(|| one.store.nodes() == 2).await;
        // What a node says changes, and replaces what it has said before.
        one.store.set_configuration("x".to_owned());
        two.store.set_configuration("y".to_owned());
        one.says("nodes_disagree cluster test: the nodes have different configurations: x (").await;
        let members = one.store.stats().members;
        assert_eq!(members.len(), 2, "{members:?}");
        assert!(members.iter().all(|node| node.silent < 5.0 && node.round_trip.is_some()), "{members:?}");
        two.stop().await;
        until(|| one.store.nodes() == 1).await;
        let mut other = plan.clone();
        other.name = "other".to_owned();
        let other = Driven::available(&other).await;
        until(|| other.store.nodes() == 1).await;
        assert_eq!(one.store.nodes(), 1, "another cluster in the same store has its own nodes");
    });
}

#[test]
fn a_node_of_a_distant_version_is_not_worked_with() {
    run(async {
        let server = Valkey::start(&[]).await;
        let far = r#"ZADD pylae:{test}:nodes 99999999999999 {"id":"1","name":"far","protocol":3,"version":"9.9.9","since":0}"#;
        server.ask(far).await.unwrap();
        let driven = Driven::start(&server.plan(StoreKind::Single));
        driven.says("node far has version 9.9.9 of Pylae, which does not work together with").await;
        assert_eq!(driven.count("a", 1).await, Err(StoreError::Unavailable));
        server.ask("DEL pylae:{test}:nodes").await.unwrap();
        driven.becomes(true).await;
        let near = far.replace(r#""protocol":3"#, r#""protocol":2"#);
        server.ask(&near).await.unwrap();
        let other = Driven::available(&server.plan(StoreKind::Single)).await;
        assert_eq!(other.count("a", 1).await, Ok(StoreValue::Integer(1)));
    });
}

/// Two servers, which share the slots of a Cluster.
async fn cluster_of_two() -> [Valkey; 2] {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let servers = [Valkey::start(&options).await, Valkey::start(&options).await];
    servers[0].ask("CLUSTER ADDSLOTSRANGE 0 8191").await.unwrap();
    servers[1].ask("CLUSTER ADDSLOTSRANGE 8192 16383").await.unwrap();
    servers[1].ask("CLUSTER SET-CONFIG-EPOCH 2").await.unwrap();
    servers[0].ask(&format!("CLUSTER MEET 127.0.0.1 {}", servers[1].port)).await.unwrap();
    for server in &servers {
        // Until it has heard from the other one, it knows of its own slots only.
        while !knows_all_slots(server).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    servers
}

async fn knows_all_slots(server: &Valkey) -> bool {
    let Value::BulkString(info) = server.ask("CLUSTER INFO").await.unwrap() else { panic!("no text") };
    let info = String::from_utf8(info).unwrap();
    info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
}

async fn id_of(server: &Valkey) -> String {
    let Value::BulkString(id) = server.ask("CLUSTER MYID").await.unwrap() else { panic!("no id") };
    String::from_utf8(id).unwrap()
}

#[test]
fn calls_go_to_the_servers_of_a_cluster_that_have_their_keys() {
    run(async {
        let servers = cluster_of_two().await;
        let driven = Driven::available(&servers[0].plan(StoreKind::Cluster)).await;
        let keys: Vec<Vec<u8>> = (0..50).map(|number: u8| driven.store.spread_key("limit", &[number])).collect();
        for round in 1..4 {
            let results = driven.store.run(keys.iter().map(|key| count(key.clone(), 1)).collect()).await;
            assert_eq!(results, vec![Ok(StoreValue::Integer(round)); 50]);
        }
        // `a` has slot 15495, of the second server. It moves to the first one, with and without its key.
        let ids = [id_of(&servers[0]).await, id_of(&servers[1]).await];
        servers[0].ask(&format!("CLUSTER SETSLOT 15495 IMPORTING {}", ids[1])).await.unwrap();
        servers[1].ask(&format!("CLUSTER SETSLOT 15495 MIGRATING {}", ids[0])).await.unwrap();
        let moving = driven.store.run(vec![count(b"a".to_vec(), 5)]).await;
        assert_eq!(moving, [Ok(StoreValue::Integer(5))], "ASK leads to the first one");
        for (server, by) in servers.iter().zip(["10", "11"]) {
            server
                .ask(&format!("CLUSTER SETSLOT 15495 NODE {}", ids[0]))
                .await
                .unwrap_or_else(|error| panic!("{by}: {error}"));
        }
        let moved = driven.store.run(vec![count(b"a".to_vec(), 5)]).await;
        assert_eq!(moved, [Ok(StoreValue::Integer(10))], "MOVED does too");
    });
}

#[test]
fn keys_of_a_lost_server_of_a_cluster_fail_at_once_and_others_do_not() {
    run(async {
        let mut servers = cluster_of_two().await;
        // Otherwise the whole Cluster ends.
        for server in &servers {
            server.ask("CONFIG SET cluster-require-full-coverage no").await.unwrap();
        }
        let driven = Driven::available(&servers[0].plan(StoreKind::Cluster)).await;
        servers[1].kill();
        driven.becomes(false).await;
        let both = vec![count(b"a".to_vec(), 1), count(b"b".to_vec(), 1)];
        // `b` has slot 3300, of the first server.
        let results = driven.store.run(both).await;
        assert_eq!(results, [Err(StoreError::Unavailable), Ok(StoreValue::Integer(1))]);
        let reach = driven.store.reach().borrow().clone();
        assert_eq!((reach.covers(b"a"), reach.covers(b"b")), (false, true));
        let stats = driven.store.stats();
        assert_eq!((stats.available, stats.servers, stats.connected), (false, 2, 1));
        let problem = stats.problem.unwrap();
        let told = format!("only 1 of 2 servers answers: 127.0.0.1:{}: ", servers[1].port);
        assert!(problem.starts_with(&told), "{problem}");
        driven.says("store_unavailable a part of the store of cluster test is not available: only 1 of 2").await;
        // The slot of the cluster's own keys is 6918, of the first server.
        assert!(driven.store.is_available());
    });
}

#[test]
fn a_server_that_does_not_answer_holds_up_its_own_calls_only() {
    run(async {
        let servers = cluster_of_two().await;
        let mut plan = servers[0].plan(StoreKind::Cluster);
        plan.timeout = Seconds(Duration::from_millis(500));
        let driven = Driven::available(&plan).await;
        servers[1].freeze(true);
        let mut answers = driven.store.ask_replicated(vec![count(b"a".to_vec(), 1), count(b"b".to_vec(), 1)]);
        assert_eq!(
            answers.next().await,
            Some(vec![(1, Ok(StoreValue::Integer(1)))]),
            "it has come before the time-out"
        );
        assert_eq!(answers.next().await, Some(vec![(0, Err(StoreError::TimedOut))]));
        assert_eq!(answers.next().await, None);
        let errors = driven.store.stats().errors;
        assert_eq!((errors["timeout"], errors["unavailable"]), (1, 0));
        servers[1].freeze(false);
        driven.becomes(true).await;
    });
}
