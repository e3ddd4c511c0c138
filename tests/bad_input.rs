//! Bad input, bad disks and bad commands: the right exit code, the right rejects with their reasons, and nothing else lost.

mod common;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use common::days::Days;
use common::{conserved, count, digest, done, quell, replay, root, said, summary};
use flate2::Compression;
use flate2::write::GzEncoder;
use quell::archive::Reader;
use quell::record::Names;
use serde_json::Value;
use tempfile::TempDir;

/// A good record.
fn good(n: u32) -> String {
    format!(
        "{{\"id\":\"g{n}\",\"time\":\"2026-01-05T00:{:02}:{:02}Z\",\"product\":\"edr\",\"rule_id\":\"R1\",\
         \"rule_name\":\"Rule\",\"severity\":\"high\",\"host\":\"h1\"}}",
        n / 60 % 60,
        n % 60
    )
}

/// Good records, a line each.
fn many(from: u32, to: u32) -> String {
    (from..to).map(|n| good(n) + "\n").collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).expect("memory");
    packed.finish().expect("memory")
}

/// A folder with inputs and archives.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary folder"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn plan(&self) -> PathBuf {
        common::asking_plan(&self.at("plan-that-asks"))
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("room for a folder");
        std::fs::write(&path, bytes).expect("room for a file");
        path
    }

    fn command(&self, input: &Path, more: &[&str]) -> Command {
        replay(&self.plan(), &[input], &self.at("archive"), more)
    }

    /// Replays what must end well; the summary, and the reasons of its rejects by position.
    fn run(&self, input: &Path, more: &[&str]) -> (Value, Vec<(u64, String)>) {
        let summary = summary(&mut self.command(input, more));
        conserved(&summary);
        let reader = self.reader();
        let rejects = reader.rejects(None).expect("rejects").map(|line| line.expect("a reject"));
        let mut reasons: Vec<_> = rejects.map(|line| (line.position, line.reason)).collect();
        reasons.sort();
        assert_eq!(count(&summary, "rejects"), reasons.len() as u64);
        (summary, reasons)
    }

    fn reader(&self) -> Reader {
        Reader::open(self.at("archive"), Arc::new(Names::default())).expect("an archive")
    }

    /// Replays a file of these bytes, of which `alerts` become alerts and the others rejects with these reasons.
    fn expect(bytes: impl AsRef<[u8]>, name: &str, alerts: u64, reasons: &[(u64, &str)]) {
        for mode in [&[][..], &["--arrival"]] {
            let place = Place::new();
            let (summary, found) = place.run(&place.file(name, &bytes), mode);
            assert_eq!(count(&summary, "alerts"), alerts, "{summary} {found:?}");
            assert_eq!(found.len(), reasons.len(), "{found:?}");
            for ((position, reason), (at, word)) in found.iter().zip(reasons) {
                assert_eq!(position, at, "{reason}");
                assert!(reason.contains(word), "{reason:?} tells {word:?}");
            }
        }
    }
}

/// Runs what must fail with `code`; what it said on standard error.
fn fails(command: &mut Command, code: i32) -> String {
    let output: Output = command.output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{}", said(&output));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[test]
fn a_truncated_gzip_gives_what_it_holds() {
    let packed = gzip(many(0, 3_000).as_bytes());
    let place = Place::new();
    let input = place.file("cut.jsonl.gz", &packed[..packed.len() - packed.len() / 5]);
    let (summary, reasons) = place.run(&input, &[]);
    assert!(count(&summary, "alerts") > 1_000, "{summary}");
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    // It stands where the record that was cut stood, and nothing lies between it and the last alert.
    assert_eq!(reasons[0].0, count(&summary, "alerts") + 1, "{summary} {reasons:?}");
    assert!(reasons[0].1.contains("breaks off"), "{reasons:?}");
}

#[test]
fn bytes_that_are_no_utf8_spoil_one_record() {
    let mut bytes = many(0, 3).into_bytes();
    bytes.extend(good(3).replace("Rule", "R\u{1}e").bytes().map(|byte| if byte == 1 { 0xff } else { byte }));
    bytes.push(b'\n');
    bytes.extend(many(4, 7).into_bytes());
    Place::expect(bytes, "a.jsonl", 6, &[(4, "UTF-8")]);
}

#[test]
fn a_cut_object_spoils_one_record() {
    let half = &good(3)[..40];
    Place::expect(format!("{}{half}\n{}", many(0, 3), many(4, 7)), "a.jsonl", 6, &[(4, "cut off")]);
    Place::expect(format!("{}{half}", many(0, 3)), "a.jsonl", 3, &[(4, "cut off")]);
}

#[test]
fn a_line_of_200_megabytes_is_one_reject_in_bounded_memory() {
    let place = Place::new();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(many(0, 5).as_bytes()).expect("memory");
    packed.write_all(b"{\"id\":\"").expect("memory");
    let block = vec![b'a'; 1 << 20];
    for _ in 0..200 {
        packed.write_all(&block).expect("memory");
    }
    packed.write_all(format!("\"}}\n{}", many(6, 11)).as_bytes()).expect("memory");
    let input = place.file("long.jsonl.gz", packed.finish().expect("memory"));
    let (summary, reasons) = place.run(&input, &[]);
    assert_eq!(count(&summary, "alerts"), 10, "{summary}");
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].0, 6, "{reasons:?}");
    assert!(reasons[0].1.contains("bytes"), "{reasons:?}");
    assert!(count(&summary, "peak_rss_bytes") < 500 << 20, "{summary}");
}

#[test]
fn an_array_without_end_is_one_reject_in_bounded_memory() {
    let place = Place::new();
    let input = place.file("open.json.gz", gzip(&vec![b'['; 200 << 20]));
    let (summary, reasons) = place.run(&input, &[]);
    assert!(reasons.len() == 1 && reasons[0].1.contains("the array breaks off"), "{reasons:?}");
    assert!(count(&summary, "peak_rss_bytes") < 200 << 20, "{summary}");
}

#[test]
fn a_csv_without_its_columns_is_told() {
    let row = "1642723347,Wazuh: ClamAV database update,172.19.130.4,mail,W-Sys-Cav";
    Place::expect(format!("time,name,ip,host,short\n{row}\n"), "a.csv", 1, &[]);
    let bare = "1642723347,Wazuh: ClamAV database update,172.19.130.4,mail";
    Place::expect(format!("time,name,ip,host\n{bare}\n{bare}\n"), "a.csv", 0, &[(2, "time"), (3, "time")]);
    // A row that is too short spoils itself alone.
    Place::expect(format!("time,name,ip,host,short\n{row}\n{bare}\n{row}\n"), "a.csv", 2, &[(3, "fields")]);
}

#[test]
fn an_event_of_2099_is_a_reject() {
    let future = good(3).replace("2026-01-05", "2099-01-05");
    let bytes = format!("{}{future}\n{}", many(0, 3), many(4, 7));
    Place::expect(bytes, "a.jsonl", 6, &[(4, "too far in the future")]);
}

#[test]
fn records_that_no_mapping_knows_are_told() {
    let bytes = format!("{}{{\"vendor\":\"new\",\"alarm\":1}}\n[1,2]\n\"x\"\n{}", many(0, 3), many(4, 7));
    let place = Place::new();
    let (summary, reasons) = place.run(&place.file("a.jsonl", bytes), &[]);
    assert_eq!(count(&summary, "alerts"), 6, "{summary} {reasons:?}");
    assert!(reasons[0].1.contains("alarm"), "{reasons:?}");
}

#[test]
fn an_empty_file_is_no_error() {
    for name in ["empty.jsonl", "empty.csv"] {
        Place::expect("", name, 0, &[]);
    }
    Place::expect(gzip(b""), "empty.jsonl.gz", 0, &[]);
    Place::expect("\n\n  \n", "blank.jsonl", 0, &[]);
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::new();
    let text = fails(&mut place.command(&place.at("missing.jsonl"), &[]), 1);
    assert!(text.contains("missing.jsonl") && text.contains("check the path"), "{text}");
    assert_eq!(text.matches("No such file").count(), 1, "the cause is said once: {text}");
    std::fs::create_dir_all(place.at("folder/below")).expect("room for a folder");
    let text = fails(&mut place.command(&place.at("folder"), &[]), 1);
    assert!(text.contains("no readable file"), "{text}");
    // Nothing was begun.
    assert!(!place.at("archive").exists());
}

#[test]
fn an_archive_is_never_written_over() {
    let place = Place::new();
    let input = place.file("a.jsonl", many(0, 9));
    done(&mut place.command(&input, &[]));
    let before = digest(&place.at("archive"));
    assert!(fails(&mut place.command(&input, &[]), 1).contains("already holds"));
    assert_eq!(digest(&place.at("archive")), before);
    // A file stands where the archive should be.
    let file = place.file("file", "x");
    let flow = place.plan();
    let text = fails(&mut replay(&flow, &[&input], &file, &[]), 1);
    assert!(text.contains("file"), "{text}");
}

#[test]
fn a_plan_with_faults_starts_nothing() {
    let place = Place::new();
    common::copy(&root().join("dataflows"), &place.at("plan"));
    place.file("plan/mappings/broken.yml", "product: {field: product}\ndetect: 7\n");
    place.file("plan/pipeline.yml", "name: x\nlateness: soon\n");
    let input = place.file("a.jsonl", many(0, 3));
    let mut command = replay(&place.at("plan/pipeline.yml"), &[&input], &place.at("archive"), &[]);
    let text = fails(&mut command, 3);
    assert!(text.contains("broken.yml") && text.contains("lateness"), "{text}");
    assert!(!place.at("archive").exists());
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    let place = Place::new();
    let input = place.file("a.jsonl", many(0, 3));
    for more in [&["--workers", "0"][..], &["--batch", "0"], &["--as-of", "soon"], &["--fast"]] {
        fails(&mut place.command(&input, more), 2);
    }
    fails(quell().arg("replay"), 2);
    fails(quell().arg("reply"), 2);
    fails(quell().args(["digest", "/nowhere"]), 1);
    // Two files of one name would be one source; one name for two files likewise.
    let (one, two) = (place.file("x/a.jsonl", good(1)), place.file("y/a.jsonl", good(2)));
    let flow = place.plan();
    assert!(fails(&mut replay(&flow, &[&one, &two], &place.at("archive"), &[]), 1).contains("a.jsonl"));
    fails(&mut replay(&flow, &[&one, &input], &place.at("archive"), &["--name", "n"]), 1);
}

#[test]
fn files_of_all_kinds_lie_in_one_folder() {
    let place = Place::new();
    place.file("in/lines.jsonl", many(0, 10));
    let list: Vec<String> = (10..20).map(good).collect();
    place.file("in/array.json", format!("[{}]", list.join(",\n  ")));
    place.file("in/objects.json", (20..30).map(|n| good(n).replace(',', ",\n")).collect::<String>());
    place.file("in/deep/rows.csv", "time,name,ip,host,short\n1767571200,Wazuh: x,10.0.0.1,mail,W\n");
    place.file("in/deep/packed.jsonl.gz", gzip(many(30, 40).as_bytes()));
    place.file("in/lines.jsonl.zst", zstd::encode_all(many(40, 50).as_bytes(), 3).expect("memory"));
    // What a name promises is not believed.
    place.file("in/gzip-by-content", gzip(many(50, 60).as_bytes()));
    place.file("in/.hidden", "not read");
    place.file("in/_quiet/x.jsonl", "not read");
    for mode in [&[][..], &["--arrival"]] {
        let (summary, reasons) = place.run(&place.at("in"), mode);
        assert_eq!(
            (count(&summary, "records"), count(&summary, "alerts")),
            (61, 61),
            "{summary} {reasons:?}"
        );
        std::fs::remove_dir_all(place.at("archive")).expect("the archive can be removed");
    }
}

#[test]
fn deep_and_doubled_json_harms_nothing() {
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let place = Place::new();
    let mut text = many(0, 3);
    writeln!(text, "{}", nested("[", "]")).expect("memory");
    writeln!(text, "{{\"a\":{}}}", nested("{\"a\":", "}").replace(":}", ":1}")).expect("memory");
    writeln!(text, "{}", good(3).replacen('{', &format!("{{\"unknown\":{},", nested("[", "]")), 1))
        .expect("memory");
    // Of a key that comes twice one value counts, and always the same.
    writeln!(text, "{}", good(4).replacen('{', "{\"id\":\"other\",\"host\":\"h2\",", 1)).expect("memory");
    text.push_str(&many(5, 8));
    let input = place.file("a.jsonl", text);
    let (summary, reasons) = place.run(&input, &[]);
    assert_eq!(count(&summary, "records"), 10, "{summary}");
    assert!(count(&summary, "alerts") >= 7, "{summary} {reasons:?}");
    let first = digest(&place.at("archive"));
    std::fs::remove_dir_all(place.at("archive")).expect("the archive can be removed");
    place.run(&input, &["--workers", "2"]);
    assert_eq!(digest(&place.at("archive")), first);
}

#[test]
fn what_windows_and_spreadsheets_write_is_read() {
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let lines = many(0, 3).replace('\n', "\r\n");
    Place::expect([b"\xff\xfe".to_vec(), wide(&lines)].concat(), "marked.json", 3, &[]);
    Place::expect(wide(&lines), "unmarked.json", 3, &[]);
    let rows = "time;name;ip;host;short\r\n1767571200;\"Wazuh: x;\r\ny\";10.0.0.1;mail;W\r\n";
    for (begin, header, row) in [("", "", ""), ("sep=;\r\n", "", ""), ("", ";", ";"), ("", ";host", ";other")]
    {
        let text = rows.replace("short\r", &format!("short{header}\r")).replace("W\r", &format!("W{row}\r"));
        let text = format!("{begin}{text}");
        Place::expect(&text, "a.csv", 1, &[]);
        Place::expect(wide(&text.replace(';', "\t")), "a.csv", 1, &[]);
    }
    // Files put one behind the other have a header each, which is no record.
    Place::expect(format!("{rows}{rows}").replace("10.0.0.1", "10.0.0.2"), "a.csv", 2, &[]);
}

#[test]
fn files_that_hold_no_records_say_what_they_are() {
    for (begin, what) in [
        ("PK\u{3}\u{4}", "zip"),
        ("BZh91AY&SY", "bzip2"),
        ("ElfFile\0", "event log"),
        ("SQLite format 3\0", "SQLite"),
    ] {
        Place::expect(format!("{begin}{}", "x\n".repeat(200_000)), "a", 0, &[(1, what)]);
    }
    let mut tar = vec![0; 512];
    tar[..7].copy_from_slice(b"a.jsonl");
    tar[257..262].copy_from_slice(b"ustar");
    tar.extend(many(0, 3).into_bytes());
    Place::expect(gzip(&tar), "a.tgz", 0, &[(1, "tar archive")]);
    Place::expect(gzip(&gzip(b"{}")), "a.gz", 0, &[(1, "packed twice")]);
    Place::expect(gzip(b"PAR1"), "a.parquet.gz", 0, &[(1, "Parquet")]);
}

#[test]
fn what_follows_a_gzip_stream_costs_nothing_of_it() {
    let packed = gzip(many(0, 3).trim_end().as_bytes());
    Place::expect([&packed[..], &[0; 700]].concat(), "padded.gz", 3, &[]);
    Place::expect([&packed[..], b"and more"].concat(), "more.gz", 3, &[(3, "no gzip")]);
    Place::expect([gzip(b""), packed.clone(), gzip(b"\n")].concat(), "members.gz", 3, &[]);
    Place::expect([&packed[..], &packed[..9]].concat(), "half.gz", 2, &[(3, "breaks off")]);
}

#[test]
fn a_value_nested_deeply_hides_no_record_behind_it() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let record = good(1).replacen('{', &format!("{{\"unknown\":{deep},"), 1);
    let known = good(2).replace("\"h1\"", &deep);
    let list = format!("[{},{record},{known},{}]", good(0), good(3));
    Place::expect(list, "a.json", 3, &[(1, "recursion")]);
}

#[test]
fn ids_beyond_64_bits_are_no_copies_of_each_other() {
    let id = |n: u32, id: &str| good(n).replace(&format!("\"g{n}\""), id) + "\n";
    let text = id(1, "123456789012345678901234567890") + &id(2, "123456789012345678901234567891");
    Place::expect(text, "a.jsonl", 2, &[]);
    let place = Place::new();
    let text =
        id(1, "18446744073709551615") + &id(2, "18446744073709551615") + &id(3, "18446744073709551614");
    let (summary, _) = place.run(&place.file("a.jsonl", text), &[]);
    assert_eq!((count(&summary, "alerts"), count(&summary, "duplicates")), (2, 1), "{summary}");
}

#[cfg(unix)]
#[test]
fn links_in_circles_pipes_and_names_twice_are_harmless() {
    let place = Place::new();
    let input = place.file("in/deep/a.jsonl", many(0, 3));
    std::os::unix::fs::symlink(place.at("in"), place.at("in/deep/up")).expect("a link");
    assert!(Command::new("mkfifo").arg(place.at("in/pipe")).status().expect("mkfifo").success());
    let (summary, _) = place.run(&place.at("in"), &[]);
    assert_eq!(count(&summary, "records"), 3, "{summary}");
    std::fs::remove_dir_all(place.at("archive")).expect("the archive can be removed");
    let flow = place.plan();
    let text = fails(&mut replay(&flow, &[&input, &input], &place.at("archive"), &[]), 1);
    assert!(text.contains("name it once"), "{text}");
    // A pipe by its name is read, once.
    let (pipe, lines) = (place.at("in/pipe"), many(0, 5));
    let writer = std::thread::spawn(move || std::fs::write(pipe, lines).is_ok());
    let (summary, _) = place.run(&place.at("in/pipe"), &[]);
    assert_eq!(count(&summary, "alerts"), 5, "{summary}");
    assert!(writer.join().expect("no panic"), "what wrote to it was read to its end");
    std::fs::remove_dir_all(place.at("archive")).expect("the archive can be removed");
    // What is not there cannot be read: it is not left out unsaid.
    std::os::unix::fs::symlink(place.at("gone"), place.at("in/gone.jsonl")).expect("a link");
    let text = fails(&mut place.command(&place.at("in"), &[]), 1);
    assert!(text.contains("gone.jsonl"), "{text}");
}

/// What an attacker would like a terminal, a browser, a spreadsheet or a C string to make of it.
const ATTACKS: [&str; 5] = [
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "<script>alert(1)</script>",
    "=HYPERLINK(\"http://x\",\"y\")",
    "a\0b",
    "\u{202e}gpj.exe\u{9b}31m",
];

#[test]
fn an_attackers_text_is_kept_and_not_obeyed() {
    // Two quiet days, so that what comes then is surprising, and told.
    let time = |hour: i64| jiff::Timestamp::from_second(1_767_571_200 + hour * 3_600).expect("a time");
    let quiet: String = (0..48)
        .map(|hour| {
            good(0)
                .replace("g0", &format!("q{hour}"))
                .replace("2026-01-05T00:00:00Z", &time(hour).to_string())
        })
        .fold(String::new(), |all, line| all + &line + "\n");
    for attack in ATTACKS {
        let place = Place::new();
        let mut record: Value = serde_json::from_str(&good(1)).expect("JSON");
        for (field, value) in [("rule_id", attack), ("rule_name", attack), ("severity", "critical")] {
            record[field] = value.into();
        }
        record["time"] = time(48).to_string().into();
        record["host"] = format!("h{attack}").into();
        // What cannot be read is kept too.
        let cut = format!("{{\"{}\": 1", attack.replace('"', "'"));
        let input = place.file("a.jsonl", format!("{quiet}{record}\n{cut}\n"));
        let mut command = quell();
        command
            .arg("replay")
            .arg("--flow")
            .arg(place.plan())
            .args(["--as-of", common::AS_OF, "--input"])
            .arg(&input)
            .arg("--archive");
        let output = done(command.arg(place.at("archive")));
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("what is said is UTF-8");
        assert!(text.contains("The most severe") && text.contains("taken for an attack"), "{text:?}");
        let obeyed = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(obeyed), "{text:?}");
        let reader = place.reader();
        let mut titles = reader.alerts(None).expect("alerts").map(|line| line.expect("an alert").title);
        assert!(titles.any(|title| reader.names().get(title) == attack), "{attack:?}");
        let raws: Vec<_> =
            reader.rejects(None).expect("rejects").map(|line| line.expect("a reject").raw).collect();
        assert_eq!(raws, [cut]);
    }
}

/// A small disk of its own, gone with this.
struct Disk(PathBuf);

impl Disk {
    /// None where this user may not mount.
    fn mount(at: PathBuf, size: &str) -> Option<Disk> {
        std::fs::create_dir_all(&at).expect("room for a folder");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "quell-test"]).arg(&at);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("skipped: a small disk cannot be mounted here (it takes root)");
        }
        mounted.then_some(Disk(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Where it fails the disk stays until the machine ends; nothing depends on it.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_harms_no_archive() {
    let days = Days::new(6_000);
    let (expected, _) = days.run("reference", &[]);
    let Some(disk) = Disk::mount(days.folder.path().join("disk"), "48m") else { return };
    let (archive, filler) = (disk.0.join("archive"), disk.0.join("filler"));
    for free in [60_000u64, 500_000, 1_200_000, 2_500_000] {
        std::fs::write(&filler, vec![0; (48 << 20) - usize::try_from(free).expect("small")]).expect("room");
        let more = ["--batch", "100", "--commit-every-ms", "20"];
        let text = fails(&mut days.replay(&archive, &more), 1);
        assert!(text.contains("space") || text.contains("full") || text.contains("room"), "{free}: {text}");
        std::fs::remove_file(&filler).expect("the filler can be removed");
        let resumed = summary(&mut days.replay(&archive, &[&more[..], &["--resume"]].concat()));
        common::agrees(&resumed, &archive);
        assert_eq!(digest(&archive), expected, "{free} bytes free");
        std::fs::remove_dir_all(&archive).expect("the archive can be removed");
    }
}
