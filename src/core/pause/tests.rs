use super::*;

const NODE1: NodeId = NodeId(1);
const NODE2: NodeId = NodeId(2);

/// Scope, number, paused.
type Rank = (u32, i64, bool);

fn change(scope: Scope, change: i64, paused: bool) -> Pause {
    Pause {
        scope,
        paused,
        change,
        changed_at: "2026-11-23 10:00:00+00".to_owned(),
        changed_by: "alice@db1".to_owned(),
        reason: None,
    }
}

fn known(all: &[Pause]) -> Pauses {
    let mut pauses = Pauses::default();
    pauses.learn(all);
    pauses
}

#[test]
fn the_newest_change_of_each_scope_wins_in_whatever_order_the_copies_are_read() {
    use Scope::{Cluster, Node};
    // Copies of two nodes; whether failover of node 1, and of node 2, is then paused.
    let table: [(&[Pause], &[Pause], bool, bool); 7] = [
        (&[], &[], false, false),
        (&[change(Cluster, 7, true)], &[], true, true),
        (
            &[change(Cluster, 7, true)],
            &[change(Cluster, 6, false)],
            true,
            true,
        ),
        // The node that was down when the pause was ended does not bring it back.
        (
            &[change(Cluster, 7, true)],
            &[change(Cluster, 8, false)],
            false,
            false,
        ),
        // Two at once, neither knowing of the other.
        (
            &[change(Cluster, 7, true)],
            &[change(Cluster, 7, false)],
            true,
            true,
        ),
        (&[change(Node(NODE2), 7, true)], &[], false, true),
        // The end of one node's pause is not that of the cluster's.
        (
            &[change(Cluster, 7, true)],
            &[change(Node(NODE2), 8, false)],
            true,
            true,
        ),
    ];
    for (one, two, node1, node2) in table {
        for copies in [[one, two].concat(), [two, one].concat()] {
            let pauses = known(&copies);
            let paused = [NODE1, NODE2].map(|node| pauses.on(node).is_some());
            assert_eq!(paused, [node1, node2], "{copies:?}");
        }
    }
}

#[test]
fn what_a_pause_begins_and_ends_is_news_once() {
    let (pause, end) = (
        change(Scope::Cluster, 7, true),
        change(Scope::Cluster, 8, false),
    );
    let mut pauses = Pauses::default();
    // The end of a pause that was never seen is none.
    assert_eq!(pauses.learn(&[change(Scope::Cluster, 6, false)]), []);
    assert_eq!(
        pauses.learn(std::slice::from_ref(&pause)),
        std::slice::from_ref(&pause)
    );
    assert_eq!(pauses.learn(std::slice::from_ref(&pause)), []);
    assert_eq!(
        pauses.learn(std::slice::from_ref(&end)),
        std::slice::from_ref(&end)
    );
    assert_eq!(pauses.learn(&[pause, end]), []);
}

#[test]
fn a_node_lacks_what_its_copy_does_not_have_or_has_older() {
    let new = change(Scope::Cluster, 8, false);
    let of_node = change(Scope::Node(NODE2), 5, true);
    let pauses = known(&[new.clone(), of_node.clone()]);
    assert_eq!(pauses.lacking(&[]), [new.clone(), of_node.clone()]);
    let old = change(Scope::Cluster, 7, true);
    assert_eq!(
        pauses.lacking(&[old, of_node.clone()]),
        std::slice::from_ref(&new)
    );
    assert_eq!(pauses.lacking(&[new, of_node]), []);
}

#[test]
fn a_change_is_above_all_that_its_author_saw_whatever_the_clocks_say() {
    let behind = known(&[change(Scope::Node(NODE1), 1_000, true)]);
    assert_eq!(behind.next_change(900), 1_001);
    assert_eq!(behind.next_change(5_000), 5_000);
    assert_eq!(Pauses::default().next_change(-3), 1);
    let last = known(&[change(Scope::Cluster, CHANGE_MAX, true)]);
    assert_eq!(last.next_change(5), CHANGE_MAX);
}

#[test]
fn an_agent_honours_what_it_says_and_everything_older() {
    let pauses = known(&[
        change(Scope::Cluster, 7, true),
        change(Scope::Node(NODE2), 9, false),
    ]);
    let said = pauses.honoured();
    assert_eq!(said, "0:7:1 2:9:0");
    for (scope, number, paused, honoured) in [
        (Scope::Cluster, 7, true, true),
        (Scope::Cluster, 6, false, true),
        (Scope::Cluster, 8, false, false),
        (Scope::Node(NODE2), 9, true, false),
        (Scope::Node(NODE1), 1, true, false),
    ] {
        let pause = change(scope, number, paused);
        assert_eq!(honours(&said, &pause), honoured, "{pause:?}");
    }
    for rubbish in ["", "0", "0:x:1", "0:7", ":::", "-1:7:1"] {
        assert!(!honours(rubbish, &change(Scope::Cluster, 1, true)));
    }
}

#[test]
fn a_pause_is_told_in_one_line_whatever_was_given_as_reason() {
    let mut pause = change(Scope::Cluster, 7, true);
    assert_eq!(
        pause.sentence(),
        "failover is paused since 2026-11-23 10:00:00+00 by alice@db1"
    );
    pause.scope = Scope::Node(NODE2);
    pause.reason = Some("new\nkernel\x1b[2J".to_owned());
    assert_eq!(
        pause.sentence(),
        "failover of node 2 is paused since 2026-11-23 10:00:00+00 by alice@db1: \
         new\\nkernel\\u{1b}[2J"
    );
    pause.paused = false;
    pause.reason = None;
    assert_eq!(
        pause.sentence(),
        "failover of node 2 is not paused any more since 2026-11-23 10:00:00+00 by alice@db1"
    );
}

#[test]
fn a_request_changes_what_is_not_so_already_and_the_end_of_all_ends_each() {
    let request = |scope, paused| Request {
        scope,
        paused,
        by: "bob@db2".to_owned(),
        at: "2026-11-23 11:00:00+00".to_owned(),
        unix_ms: 50,
        reason: None,
    };
    let ranks = |request: &Request, known: &Pauses| -> Vec<Rank> {
        let rank = |pause: &Pause| (scope_number(pause.scope), pause.change, pause.paused);
        request.changes(known).iter().map(rank).collect()
    };
    let (all, two) = (Scope::Cluster, Scope::Node(NODE2));
    let nothing = Pauses::default();
    let cluster = known(&[change(all, 60, true)]);
    let node = known(&[change(two, 60, true)]);
    let ended = known(&[change(all, 60, false)]);
    let table: [(Scope, bool, &Pauses, &[Rank]); 8] = [
        (all, true, &nothing, &[(0, 50, true)]),
        (all, true, &cluster, &[(0, 60, true)]),
        (all, true, &ended, &[(0, 61, true)]),
        (two, true, &cluster, &[(2, 61, true)]),
        (all, false, &nothing, &[(0, 50, false)]),
        (all, false, &ended, &[(0, 60, false)]),
        (all, false, &node, &[(0, 61, false), (2, 61, false)]),
        (two, false, &cluster, &[(2, 61, false)]),
    ];
    for (scope, paused, known, expected) in table {
        let request = request(scope, paused);
        assert_eq!(ranks(&request, known), expected, "{request:?} {known:?}");
    }
    let with_reason = Request {
        reason: Some("kernel".to_owned()),
        ..request(all, true)
    };
    assert_eq!(ranks(&with_reason, &cluster), [(0, 61, true)]);
    assert_eq!(with_reason.changes(&cluster)[0].changed_by, "bob@db2");
}
