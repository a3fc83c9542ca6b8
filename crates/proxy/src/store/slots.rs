//! Slots of keys, and which server of a Cluster has them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use pylae_core::plan::StoreServer;

/// Number of slots of a Cluster.
pub(super) const SLOTS: usize = 16384;

/// The slot of a key: that of the part in braces, if there is one.
pub(super) fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0).map(|length| &rest[..length])
    });
    usize::from(crc16(tag.unwrap_or(key))) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRCS[usize::from((crc >> 8) as u8 ^ byte)])
}

/// Those of single bytes.
static CRCS: [u16; 256] = {
    let mut crcs = [0; 256];
    let mut byte = 0_u16;
    while byte < 256 {
        let (mut crc, mut bit) = (byte << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        crcs[byte as usize] = crc;
        byte += 1;
    }
    crcs
};

/// Which keys the store answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    All,
    #[default]
    Nothing,
    /// Those in these slots.
    Some(Arc<StoreSlots>),
}

/// A bit for each slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoreSlots([u64; SLOTS / 64]);

impl Reach {
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Some(slots) => {
                let slot = slot(key);
                slots.0[slot / 64] & 1 << (slot % 64) != 0
            }
        }
    }
}

/// Which server has each slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SlotMap {
    servers: Vec<StoreServer>,
    /// Index of the server of each slot, or [`NOBODY`]. None means that the first server has all.
    owners: Option<Box<[u16]>>,
}

const NOBODY: u16 = u16::MAX;

/// A primary as a server of a Cluster describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Primary {
    server: StoreServer,
    epoch: u64,
    slots: Vec<RangeInclusive<usize>>,
}

/// The servers of a Cluster as one of them describes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClusterView {
    pub(super) primaries: Vec<Primary>,
    /// All servers, replicas too, that are not known to have failed.
    pub(super) members: Vec<StoreServer>,
}

impl SlotMap {
    /// One server has all keys.
    pub(super) fn one(server: StoreServer) -> Self {
        Self { servers: vec![server], owners: None }
    }

    /// Of several views, the latest claim of a slot counts: that of the highest epoch. Views of servers that were cut
    /// off may be old.
    pub(super) fn newest(views: &[ClusterView]) -> Self {
        let mut map = Self { servers: Vec::new(), owners: None };
        let mut owners = vec![NOBODY; SLOTS].into_boxed_slice();
        let mut epochs = vec![0; SLOTS];
        for primary in views.iter().flat_map(|view| &view.primaries) {
            let index = map.index(&primary.server);
            for slot in primary.slots.iter().cloned().flatten() {
                if owners[slot] == NOBODY || primary.epoch > epochs[slot] {
                    (owners[slot], epochs[slot]) = (index, primary.epoch);
                }
            }
        }
        map.owners = Some(owners);
        map.forget_idle();
        map
    }

    fn index(&mut self, server: &StoreServer) -> u16 {
        let known = self.servers.iter().position(|known| known == server);
        let index = known.unwrap_or_else(|| {
            self.servers.push(server.clone());
            self.servers.len() - 1
        });
        // A Cluster has a thousand servers at most.
        u16::try_from(index).unwrap_or(NOBODY)
    }

    /// Leaves out servers without slots.
    fn forget_idle(&mut self) {
        let Some(owners) = &mut self.owners else { return };
        let mut kept = Vec::new();
        let mut moved = vec![NOBODY; self.servers.len()];
        for owner in owners.iter_mut().filter(|owner| **owner != NOBODY) {
            let place = &mut moved[usize::from(*owner)];
            if *place == NOBODY {
                *place = u16::try_from(kept.len()).unwrap_or(NOBODY);
                kept.push(self.servers[usize::from(*owner)].clone());
            }
            *owner = *place;
        }
        self.servers = kept;
    }

    /// The servers that have keys.
    pub(super) fn servers(&self) -> &[StoreServer] {
        &self.servers
    }

    /// The server that has `key`, or None if nobody has its slot.
    pub(super) fn server(&self, key: &[u8]) -> Option<&StoreServer> {
        match &self.owners {
            None => self.servers.first(),
            Some(owners) => self.servers.get(usize::from(owners[slot(key)])),
        }
    }

    /// Gives the slot of `key` to `server`, which another has said has it.
    pub(super) fn set_server(&mut self, key: &[u8], server: &StoreServer) {
        let index = self.index(server);
        if let Some(owners) = &mut self.owners {
            owners[slot(key)] = index;
        }
    }

    /// Which keys are on servers for which `is_connected` returns true.
    pub(super) fn reach(&self, is_connected: impl Fn(&StoreServer) -> bool) -> Reach {
        let connected: Vec<bool> = self.servers.iter().map(is_connected).collect();
        let Some(owners) = &self.owners else {
            return if connected.first() == Some(&true) { Reach::All } else { Reach::Nothing };
        };
        let (mut slots, mut count) = ([0; SLOTS / 64], 0);
        for (slot, owner) in owners.iter().enumerate() {
            if connected.get(usize::from(*owner)) == Some(&true) {
                slots[slot / 64] |= 1 << (slot % 64);
                count += 1;
            }
        }
        match count {
            0 => Reach::Nothing,
            SLOTS => Reach::All,
            _ => Reach::Some(Arc::new(StoreSlots(slots))),
        }
    }

    /// Why not every slot has a server, or None.
    pub(super) fn gap(&self) -> Option<String> {
        let owners = self.owners.as_ref()?;
        let missing = owners.iter().filter(|&&owner| owner == NOBODY).count();
        (missing > 0).then(|| format!("no server has {missing} of the {SLOTS} slots"))
    }
}

impl ClusterView {
    /// Reads the answer of `CLUSTER NODES` that `asked` has given. With `names`, host names go before addresses.
    pub(super) fn read(text: &str, asked: &StoreServer, names: bool) -> Self {
        let mut view = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, address, flags, _, _, _, epoch, _, slots @ ..] = &words[..] else { continue };
            let has = |wanted: &str| flags.split(',').any(|flag| flag == wanted);
            let Some(server) = server_of(address, asked, names) else { continue };
            if has("noaddr") || has("handshake") {
                continue;
            }
            if !has("fail") {
                view.members.push(server.clone());
            }
            if has("master") && !slots.is_empty() {
                let slots = slots.iter().filter_map(|range| range_of(range)).collect();
                view.primaries.push(Primary { server, epoch: epoch.parse().unwrap_or(0), slots });
            }
        }
        view
    }
}

/// `ip:port@bus`, `ip:port@bus,name` or `ip:port@bus,name,key=value…`. A server that does not know its own address
/// leaves it out.
fn server_of(text: &str, asked: &StoreServer, names: bool) -> Option<StoreServer> {
    let (address, rest) = text.split_once('@')?;
    let (ip, port) = address.rsplit_once(':')?;
    let name = rest.split(',').nth(1).unwrap_or_default();
    let host = match (names && !name.is_empty(), ip.is_empty()) {
        (true, _) => name,
        (false, true) => &asked.host,
        (false, false) => ip,
    };
    Some(StoreServer { host: host.to_owned(), port: port.parse().ok()? })
}

/// `a`, `a-b`, or what is being moved, in brackets: the slot is still where it was.
fn range_of(text: &str) -> Option<RangeInclusive<usize>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < SLOTS).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(port: u16) -> StoreServer {
        StoreServer { host: "127.0.0.1".to_owned(), port }
    }

    #[test]
    fn slots_of_keys_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), usize::from(crc16(b"foo{}{bar}")) % SLOTS, "an empty tag is none");
        assert_eq!(slot(b"foo{{bar}}zap"), usize::from(crc16(b"{bar")) % SLOTS);
        assert_eq!(slot(b"foo{bar"), usize::from(crc16(b"foo{bar")) % SLOTS);
    }

    const NODES: &str = "\
07c37df 127.0.0.1:7004@17004,,shard-id=1 slave e7d1eec 0 1426238317239 4 connected
67ed2db 127.0.0.1:7002@17002,two.example master - 0 1426238316232 2 connected 5461-10922 [93-<-292f8b3]
6ec2392 127.0.0.1:7005@17005 master,fail - 1426238316232 1426238316232 3 connected 10923-16383
e7d1eec :7001@17001,one.example,shard-id=2 myself,master - 0 0 1 connected 0-5459 5460
824fe11 127.0.0.1:7006@17006 master,noaddr - 0 0 9 disconnected 0-16383
";

    #[test]
    fn the_nodes_of_a_cluster_are_read() {
        let view = ClusterView::read(NODES, &server(7001), false);
        assert_eq!(view.members, [server(7004), server(7002), server(7001)], "those that have not failed");
        let map = SlotMap::newest(&[view]);
        assert_eq!(map.servers().len(), 3);
        assert_eq!(map.server(b"123456789"), Some(&server(7005)), "its slot is 12739");
        assert_eq!(map.gap(), None);
    }

    #[test]
    fn host_names_are_for_those_who_verify_them() {
        let view = ClusterView::read(NODES, &server(7001), true);
        let hosts: Vec<&str> = view.members.iter().map(|member| member.host.as_str()).collect();
        assert_eq!(hosts, ["127.0.0.1", "two.example", "one.example"]);
    }

    #[test]
    fn the_latest_claim_of_a_slot_counts() {
        let view = |port, epoch| ClusterView {
            primaries: vec![Primary { server: server(port), epoch, slots: vec![0..=SLOTS - 1] }],
            members: Vec::new(),
        };
        for views in [[view(1, 5), view(2, 6)], [view(2, 6), view(1, 5)]] {
            assert_eq!(SlotMap::newest(&views).server(b"a"), Some(&server(2)));
            assert_eq!(SlotMap::newest(&views).servers(), [server(2)]);
        }
    }

    #[test]
    fn slots_that_nobody_has_are_said() {
        let slots = vec![0..=99, 200..=SLOTS - 1];
        let primaries = vec![Primary { server: server(1), epoch: 1, slots }];
        let map = SlotMap::newest(&[ClusterView { primaries, members: Vec::new() }]);
        assert_eq!(map.gap().as_deref(), Some("no server has 100 of the 16384 slots"));
    }

    #[test]
    fn keys_are_reached_on_servers_that_are_connected() {
        let primary = |port, slots| Primary { server: server(port), epoch: 1, slots: vec![slots] };
        let primaries = vec![primary(1, 0..=8191), primary(2, 8192..=SLOTS - 1)];
        let map = SlotMap::newest(&[ClusterView { primaries, members: Vec::new() }]);
        assert_eq!(map.reach(|_| true), Reach::All);
        assert_eq!(map.reach(|_| false), Reach::Nothing);
        // `a` has slot 15495, `b` 3300.
        let first = map.reach(|connected| *connected == server(1));
        assert_eq!((first.covers(b"a"), first.covers(b"b")), (false, true));
        assert_eq!(SlotMap::one(server(1)).reach(|_| true), Reach::All);
        assert_eq!(SlotMap::one(server(1)).reach(|_| false), Reach::Nothing);
        let primaries = vec![primary(1, 0..=8191)];
        let gap = SlotMap::newest(&[ClusterView { primaries, members: Vec::new() }]).reach(|_| true);
        assert_eq!((gap.covers(b"a"), gap.covers(b"b")), (false, true), "a slot that nobody has");
    }

    #[test]
    fn a_redirection_moves_one_slot() {
        let mut map = SlotMap::newest(&[ClusterView {
            primaries: vec![Primary { server: server(1), epoch: 1, slots: vec![0..=SLOTS - 1] }],
            members: Vec::new(),
        }]);
        map.set_server(b"a", &server(2));
        assert_eq!(map.server(b"a"), Some(&server(2)));
        assert_eq!(map.server(b"b"), Some(&server(1)));
        let mut alone = SlotMap::one(server(1));
        assert_eq!(alone.gap(), None);
        alone.set_server(b"a", &server(2));
        assert_eq!(alone.server(b"a"), Some(&server(1)));
    }
}
