use super::*;

fn disk_with_file() -> (SimDisk, PathBuf, Arc<dyn DiskFile>) {
    let disk = SimDisk::new();
    let path = PathBuf::from("/d/file");
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.create(&path).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    (disk, path, file)
}

fn content(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn synced_content_survives_and_unsynced_content_is_torn_by_sectors() {
    let (disk, path, file) = disk_with_file();
    file.write_all_at(&[1; 4096], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[2; 4096], 0).unwrap();
    let mut mixed = 0;
    for seed in 0..100 {
        let bytes = content(&disk.crash(seed), &path);
        assert_eq!(bytes.len(), 4096);
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|b| *b == sector[0]));
        }
        mixed += usize::from(bytes.contains(&1) && bytes.contains(&2));
    }
    assert!(mixed > 50, "{mixed} of 100 crashes tore the write");
    file.sync_data().unwrap();
    assert_eq!(content(&disk.crash(7), &path), [2; 4096]);
}

#[test]
fn a_failed_sync_leaves_what_it_should_have_written_out_of_later_ones() {
    let (disk, path, file) = disk_with_file();
    file.write_all_at(&[1; 512], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[2; 512], 0).unwrap();
    disk.fail_at(disk.changes() + 1);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(content(&disk, &path), [2; 512]);
    assert!((0..20).any(|seed| content(&disk.crash(seed), &path) == [1; 512]));
}

#[test]
fn names_survive_as_a_prefix_of_their_changes() {
    let (disk, path, file) = disk_with_file();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    let [b, c] = ["/d/b", "/d/c"].map(PathBuf::from);
    disk.rename(&path, &b).unwrap();
    disk.rename(&b, &c).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let names = disk.crash(seed).list(Path::new("/d")).unwrap();
        assert_eq!(names.len(), 1);
        seen.extend(names);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["b", "c", "file"]);
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(disk.crash(1).list(Path::new("/d")).unwrap(), ["c"]);
}

#[test]
fn a_full_disk_refuses_growth_only() {
    let (disk, _, file) = disk_with_file();
    file.preallocate(1024).unwrap();
    disk.set_capacity(Some(1024));
    file.write_all_at(&[1; 1024], 0).unwrap();
    let error = file.write_all_at(&[1; 1], 1024).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let (disk, path, file) = disk_with_file();
    file.write_all_at(&[1; 8192], 0).unwrap();
    for seed in 0..20 {
        assert_eq!(
            content(&disk.crash(seed), &path),
            content(&disk.crash(seed), &path)
        );
    }
}

#[test]
fn the_power_goes_during_one_change_and_stays_off() {
    let (disk, _, file) = disk_with_file();
    disk.cut_power_at(disk.changes() + 2);
    file.write_all_at(&[1; 10], 0).unwrap();
    file.sync_data().unwrap_err();
    file.sync_data().unwrap_err();
    file.write_all_at(&[1; 10], 0).unwrap_err();
}

#[test]
fn a_removed_file_takes_room_as_long_as_it_could_come_back() {
    let (disk, path, file) = disk_with_file();
    file.preallocate(4096).unwrap();
    file.sync_data().unwrap();
    let files = |disk: &SimDisk| disk.state().files.len();
    disk.remove(&path).unwrap();
    assert!((0..20).any(|seed| disk.crash(seed).open(&path).is_ok()));
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!((files(&disk), file.len().unwrap()), (1, 4096), "still open");
    assert_eq!(files(&disk.crash(0)), 0);
    drop(file);
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(files(&disk), 0);
}

#[test]
fn a_directory_is_synced_without_its_neighbours() {
    let (disk, path, _file) = disk_with_file();
    let (other, below) = (PathBuf::from("/e/file"), PathBuf::from("/d/below/file"));
    disk.create_dir_all(Path::new("/e")).unwrap();
    disk.create_dir_all(Path::new("/d/below")).unwrap();
    let moved = PathBuf::from("/d/moved");
    disk.create(&other).unwrap();
    disk.create(&below).unwrap();
    disk.rename(&path, &moved).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    let crashes: Vec<_> = (0..40).map(|seed| disk.crash(seed)).collect();
    assert!(crashes.iter().all(|disk| disk.open(&moved).is_ok()));
    assert!(crashes.iter().all(|disk| disk.open(&path).is_err()));
    for doubtful in [other, below] {
        let survived = crashes.iter().filter(|disk| disk.open(&doubtful).is_ok());
        assert!((1..40).contains(&survived.count()), "{doubtful:?}");
    }
}
