use super::*;

fn open(dir: &Path) -> Result<SledStore, StoreError> {
    SledStore::open(dir, SledOptions::default())
}

projection_store_contract!(|| {
    let dir = tempfile::tempdir().unwrap();
    (open(dir.path()).unwrap(), dir)
});

fn one(key: &str, value: &str) -> Vec<Change> {
    vec![(key.into(), Some(value.into()))]
}

#[test]
fn what_was_written_is_there_after_a_clean_close() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().write("n", one("k", "v")).unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!(store.namespaces().unwrap(), ["n"]);
    assert_eq!(store.get("n", b"k").unwrap().unwrap(), "v");
}

#[test]
fn a_directory_in_use_is_unavailable_and_not_doubtful() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Unavailable(_))));
}

#[test]
fn a_fresh_store_replaces_one_that_is_still_open() {
    let dir = tempfile::tempdir().unwrap();
    let old = open(dir.path()).unwrap();
    old.write("n", one("k", "old")).unwrap();
    let new = SledStore::fresh(dir.path(), SledOptions::default()).unwrap();
    assert_eq!(new.namespaces().unwrap(), Vec::<String>::new());
    new.write("n", one("k", "new")).unwrap();
    drop(old);
    drop(new);
    assert_eq!(open(dir.path()).unwrap().get("n", b"k").unwrap().unwrap(), "new");
    assert_eq!(generations(dir.path()).unwrap(), [2]);
}

#[test]
fn a_file_where_the_database_should_be_is_doubtful_and_a_fresh_store_heals_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(generation_path(dir.path(), 1), b"not a directory").unwrap();
    assert!(open(dir.path()).unwrap_err().is_doubtful());
    SledStore::fresh(dir.path(), SledOptions::default()).unwrap();
    assert_eq!(generations(dir.path()).unwrap(), [2]);
}

#[test]
fn a_panic_inside_makes_the_store_doubtful_for_good_and_does_not_escape() {
    quiet();
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.write("n", one("k", "v")).unwrap();
    let failed = store.call::<()>(|_| panic!("sled lost\nits way"));
    assert_eq!(failed, Err(StoreError::broken("sled lost\nits way")));
    assert_eq!(store.get("n", b"k"), Err(StoreError::broken("sled lost\nits way")));
}

#[test]
fn a_full_disk_is_unavailable_and_the_store_stays_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let full = || sled::Error::Io(io::ErrorKind::StorageFull.into());
    assert!(matches!(store.call::<()>(|_| Err(full())), Err(StoreError::Unavailable(_))));
    assert_eq!(store.get("n", b"k"), Ok(None));
}

#[test]
fn nobody_else_can_read_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path()).unwrap();
    let path = generation_path(dir.path(), 1);
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("db")), 0o600);
}

#[test]
fn deleting_its_files_while_it_runs_stops_nothing_and_leaves_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.write("n", one("k", "v")).unwrap();
    fs::remove_dir_all(dir.path()).unwrap();
    match store.get("n", b"k") {
        Ok(found) => assert_eq!(found.unwrap(), "v"),
        Err(error) => assert!(error.is_doubtful()),
    }
    drop(store);
    assert_eq!(open(dir.path()).unwrap().get("n", b"k"), Ok(None));
}

fn quiet() {
    crate::store::quiet_sled_panics();
}
