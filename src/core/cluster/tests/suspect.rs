use super::*;

impl World {
    fn suspects(&mut self, node: NodeId) {
        let suspect = Health::Suspect {
            attempt: 0,
            reason: String::new(),
        };
        self.cluster.node(node, suspect, self.now);
    }

    fn suspect(&self) -> Option<NodeId> {
        self.cluster.assignment().suspect
    }
}

#[test]
fn a_node_is_suspect_from_its_first_silence_until_it_answers_or_was_dealt_with() {
    let mut world = World::new();
    assert_eq!(world.suspect(), None);
    world.suspects(NODE2);
    assert_eq!(world.suspect(), Some(NODE2));
    world.cluster.node(NODE2, up(), world.now);
    assert_eq!(world.suspect(), None);
    world.suspects(NODE2);
    world.down(NODE2);
    world.actions();
    assert_eq!(world.suspect(), Some(NODE2), "nobody has decided yet");
    world.claim(NODE1, ClaimResult::Granted);
    let decided = world.cluster.assignment().decision.expect("it decides");
    assert_eq!(world.suspect(), Some(NODE2));
    for name in ["pgb1", "pgb2"] {
        world.settle(name, &decided);
    }
    world.actions();
    assert_eq!(world.suspect(), None);
}

#[test]
fn nobody_is_made_to_wait_when_there_is_nowhere_to_go_or_failover_is_held_back() {
    let mut world = World::new();
    world.suspects(NODE1);
    world.suspects(NODE2);
    assert_eq!(world.suspect(), None);
    for scope in [Scope::Cluster, Scope::Node(NODE2)] {
        let mut world = World::new();
        world.suspects(NODE2);
        world.cluster.pauses_read(&[pause(scope, 1, true)]);
        assert_eq!(world.suspect(), None);
        world.cluster.pauses_read(&[pause(scope, 2, false)]);
        assert_eq!(world.suspect(), Some(NODE2));
    }
}
