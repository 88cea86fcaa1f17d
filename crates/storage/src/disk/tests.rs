//! What every disk does, whichever it is.

use std::io::ErrorKind;
use std::path::Path;

use super::*;

fn conforms(disk: &dyn Disk, base: &Path) {
    let dir = base.join("a/b");
    disk.create_dir_all(&dir).unwrap();
    disk.create_dir_all(&dir).unwrap();
    let kind = |result: std::io::Result<Arc<dyn DiskFile>>| result.err().unwrap().kind();

    let one = dir.join("one");
    assert_eq!(kind(disk.open(&one)), ErrorKind::NotFound);
    let file = disk.create(&one).unwrap();
    assert_eq!(kind(disk.create(&one)), ErrorKind::AlreadyExists);
    let nowhere = base.join("nowhere");
    assert_eq!(
        kind(disk.create(&nowhere.join("file"))),
        ErrorKind::NotFound
    );
    assert_eq!(disk.list(&nowhere).unwrap_err().kind(), ErrorKind::NotFound);
    let in_the_way = disk.create_dir_all(&one).unwrap_err();
    assert_eq!(in_the_way.kind(), ErrorKind::AlreadyExists);

    assert!(file.is_empty().unwrap());
    file.write_all_at(b"hello", 3).unwrap();
    let mut buffer = [9; 10];
    assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 7);
    assert_eq!(&buffer[..7], b"\0\0hello");
    assert_eq!(file.read_at(&mut buffer, 8).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, 800).unwrap(), 0);
    file.preallocate(4).unwrap();
    assert_eq!(file.len().unwrap(), 8, "preallocating never cuts");
    file.preallocate(5000).unwrap();
    assert_eq!(file.len().unwrap(), 5000);
    file.set_len(5).unwrap();
    file.set_len(8).unwrap();
    assert_eq!(file.read_at(&mut buffer, 3).unwrap(), 5);
    assert_eq!(&buffer[..5], b"he\0\0\0");
    file.sync_data().unwrap();

    let two = dir.join("two");
    disk.create(&two).unwrap();
    assert_eq!(disk.list(&dir).unwrap(), ["one", "two"]);
    disk.rename(&one, &two).unwrap();
    assert_eq!(disk.list(&dir).unwrap(), ["two"]);
    assert_eq!(disk.open(&two).unwrap().len().unwrap(), 8);
    disk.remove(&two).unwrap();
    assert_eq!(disk.remove(&two).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        disk.rename(&two, &one).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    disk.sync_dir(&dir).unwrap();
    assert!(disk.list(&dir).unwrap().is_empty());
    // A handle outlives the name.
    assert_eq!(file.read_at(&mut buffer, 3).unwrap(), 5);
}

#[test]
fn the_real_disk_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conforms(&RealDisk, dir.path());
}

#[test]
fn the_simulated_disk_conforms() {
    conforms(&SimDisk::new(), Path::new("/base"));
}
