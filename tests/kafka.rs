//! Kafka sources against a real broker: what a topic holds is what a file of the same records gives, whatever is killed.

mod common;

use common::kafka::Broker;

#[test]
fn a_broker_is_what_a_test_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut broker = Broker::start(&folder.path().join("broker"));
    broker.topic("words", 2);
    broker.produce("words", Some(0), ["a", "b"]);
    broker.produce_keyed("words", Some(1), [(Some("k"), None)]);
    let had: Vec<_> =
        broker.consume("words").into_iter().map(|it| (it.partition, it.offset, it.value)).collect();
    assert_eq!(had, [(0, 0, Some("a".to_owned())), (0, 1, Some("b".to_owned())), (1, 0, None)]);
    broker.add_partitions("words", 3);
    broker.delete_before("words", 0, 1);
    assert_eq!(broker.bounds("words", 0), (1, 2));
    broker.stop();
    broker.restart();
    assert_eq!(broker.consume("words").len(), 2);
    broker.kill();
}
