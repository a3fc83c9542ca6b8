//! The task itself. What nodes come to know of each other is in `tests/behaviour/test_cluster_revocation.py`.

use pylae_core::cluster::{Revoked, RevokedName};
use pylae_core::limit::Clocks;
use pylae_core::plan::StoreKind;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::*;
use crate::store::fixture::Valkey;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    feed: Arc<ClusterFeed>,
    tasks: Vec<JoinHandle<()>>,
    _stop: watch::Sender<()>,
}

fn feed(server: &Valkey, on_error: OnStoreError) -> Arc<ClusterFeed> {
    let log = Arc::<Log>::default();
    let mut plan = server.plan(StoreKind::Single);
    plan.on_store_error = on_error;
    let store = Store::new(&plan, &log).map_err(|problems| format!("{problems:?}")).unwrap();
    let policies = Arc::new(PolicyShared::new(10).with_cache(1 << 20));
    ClusterFeed::new(&store, &policies, &Arc::default(), &log)
}

impl Node {
    /// Starts a node and waits until it knows what is revoked.
    async fn start(server: &Valkey) -> Self {
        let feed = feed(server, OnStoreError::Share);
        let (stop, stopped) = watch::channel(());
        let tasks = vec![spawn_local(Arc::clone(&feed.store).drive(stopped)), spawn_local(Arc::clone(&feed).follow())];
        feed.join(PATIENCE).await;
        assert!(*feed.current.borrow());
        Self { feed, tasks, _stop: stop }
    }

    fn revoke(&self, user: &str) {
        let at = Clocks { now: clock::now(), wall: clock::wall() };
        assert!(self.feed.policies.identity.revoke(Revoked::User(user), at, Duration::from_secs(60)));
        self.feed.revoked();
    }

    fn covers(&self, user: &str) -> bool {
        let name = RevokedName::from(Revoked::User(user));
        self.feed.policies.identity.with_revocations(|set| set.covers(name, None, clock::wall()))
    }

    async fn comes_to_cover(&self, user: &str) {
        let covers = async {
            while !self.covers(user) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, covers).await.unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test]
async fn nodes_learn_what_others_have_revoked_before_and_after_their_start() {
    LocalSet::new()
        .run_until(async {
            let server = Valkey::start(&[]).await;
            let one = Node::start(&server).await;
            one.revoke("ada");
            one.feed.flush().await;
            let other = Node::start(&server).await;
            assert!(other.covers("ada"));
            assert_eq!(other.feed.liveness.ready(), "ready");
            other.revoke("eve");
            one.comes_to_cover("eve").await;
            let figures = one.feed.figures();
            assert_eq!((figures.unpublished_revocations, figures.catch_ups), (0, 1), "{figures:?}");
        })
        .await;
}

#[tokio::test]
async fn what_others_write_into_the_stream_is_passed_over_and_then_made_up_for() {
    LocalSet::new()
        .run_until(async {
            let server = Valkey::start(&[]).await;
            let one = Node::start(&server).await;
            server.ask("XADD pylae:{test}:stream * what else").await.unwrap();
            let other = Node::start(&server).await;
            other.revoke("ada");
            one.comes_to_cover("ada").await;
            // It is not read again and again meanwhile.
            let figures = one.feed.figures();
            assert!(figures.entries_read < 1000, "{figures:?}");
        })
        .await;
}

#[tokio::test]
async fn nodes_tell_a_store_that_has_forgotten_everything() {
    LocalSet::new()
        .run_until(async {
            let mut server = Valkey::start(&[]).await;
            let one = Node::start(&server).await;
            one.revoke("ada");
            one.feed.flush().await;
            server.kill();
            one.revoke("eve");
            assert!(server.restart().await);
            let other = Node::start(&server).await;
            other.comes_to_cover("ada").await;
            other.comes_to_cover("eve").await;
        })
        .await;
}

#[tokio::test]
async fn a_node_that_learns_nothing_is_ready_after_a_while_unless_it_must_not_serve() {
    let server = Valkey::start(&[]).await;
    for (on_error, then) in
        [(OnStoreError::Share, "ready"), (OnStoreError::Allow, "ready"), (OnStoreError::Deny, "joining")]
    {
        // Nobody drives the store, so that it never answers.
        let feed = feed(&server, on_error);
        assert_eq!(feed.liveness.ready(), "joining");
        let joined = timeout(Duration::from_millis(100), feed.join(Duration::ZERO)).await;
        assert_eq!((joined.is_ok(), feed.liveness.ready()), (then == "ready", then));
        assert!(feed.log.take().unwrap().iter().any(|record| record.event == "revocations_unknown"));
        feed.current.send_replace(true);
        feed.join(Duration::ZERO).await;
        assert_eq!(feed.liveness.ready(), "ready");
    }
}
