//! What every projection store must do, as one suite that each implementation runs.

/// Instantiates the suite. The argument makes an empty store, and whatever must outlive it (its directory).
macro_rules! projection_store_contract {
    ($make:expr) => {
        mod contract {
            use super::*;
            use $crate::store::ProjectionStore;

            fn put(key: &str, value: &str) -> (Vec<u8>, Option<Vec<u8>>) {
                (key.into(), Some(value.into()))
            }

            fn value(store: &dyn ProjectionStore, namespace: &str, key: &str) -> Option<String> {
                let found = store.get(namespace, key.as_bytes()).unwrap();
                found.map(|v| String::from_utf8(v.to_vec()).unwrap())
            }

            #[test]
            fn a_key_never_written_has_no_value_and_makes_no_namespace() {
                let (store, _keep) = $make();
                assert_eq!(value(&store, "a", "k"), None);
                store.remove_prefix("a", b"k").unwrap();
                store.drop_namespace("a").unwrap();
                assert_eq!(store.namespaces().unwrap(), Vec::<String>::new());
            }

            #[test]
            fn the_last_value_written_is_read_and_a_removed_one_is_gone() {
                let (store, _keep) = $make();
                store.write("a", vec![put("k", "1"), put("l", ""), put("k", "2")]).unwrap();
                assert_eq!(value(&store, "a", "k").as_deref(), Some("2"));
                assert_eq!(value(&store, "a", "l").as_deref(), Some(""));
                store.write("a", vec![(b"k".to_vec(), None), (b"never".to_vec(), None)]).unwrap();
                assert_eq!(value(&store, "a", "k"), None);
                assert_eq!(value(&store, "a", "l").as_deref(), Some(""));
            }

            #[test]
            fn namespaces_do_not_see_each_other() {
                let (store, _keep) = $make();
                store.write("b", vec![put("k", "in b")]).unwrap();
                store.write("a", vec![put("k", "in a")]).unwrap();
                assert_eq!(store.namespaces().unwrap(), ["a", "b"]);
                store.drop_namespace("a").unwrap();
                assert_eq!(store.namespaces().unwrap(), ["b"]);
                assert_eq!(value(&store, "a", "k"), None);
                assert_eq!(value(&store, "b", "k").as_deref(), Some("in b"));
            }

            #[test]
            fn a_dropped_namespace_begins_again_empty() {
                let (store, _keep) = $make();
                store.write("a", vec![put("k", "old"), put("l", "old")]).unwrap();
                store.drop_namespace("a").unwrap();
                store.write("a", vec![put("k", "new")]).unwrap();
                assert_eq!(value(&store, "a", "k").as_deref(), Some("new"));
                assert_eq!(value(&store, "a", "l"), None);
            }

            #[test]
            fn removing_a_prefix_removes_exactly_the_keys_that_begin_with_it() {
                let (store, _keep) = $make();
                let keys = ["a", "b", "b0", "b1", "bc", "c"];
                store.write("n", keys.iter().map(|k| put(k, k)).collect()).unwrap();
                store.remove_prefix("n", b"b").unwrap();
                let left: Vec<_> = keys.iter().filter(|k| value(&store, "n", k).is_some()).collect();
                assert_eq!(left, [&"a", &"c"]);
            }

            #[test]
            fn ten_thousand_pages_are_read_back_as_written() {
                let (store, _keep) = $make();
                let page = |n: u32| vec![u8::try_from(n % 251).unwrap(); 900];
                for first in (0..10_000_u32).step_by(100) {
                    let batch = (first..first + 100).map(|n| (n.to_be_bytes().to_vec(), Some(page(n))));
                    store.write("n", batch.collect()).unwrap();
                }
                store.flush().unwrap();
                for n in (0..10_000_u32).step_by(7) {
                    assert_eq!(store.get("n", &n.to_be_bytes()).unwrap().unwrap(), page(n));
                }
            }

            #[test]
            fn it_is_read_while_it_is_written() {
                let (store, _keep) = $make();
                store.write("n", vec![put("k", "0")]).unwrap();
                std::thread::scope(|threads| {
                    threads.spawn(|| {
                        for n in 1..500 {
                            store.write("n", vec![put("k", &n.to_string())]).unwrap();
                        }
                    });
                    let mut last = 0;
                    while last < 499 {
                        let now: u32 = value(&store, "n", "k").unwrap().parse().unwrap();
                        assert!(now >= last, "{now} was read after {last}");
                        last = now;
                    }
                });
            }
        }
    };
}
