//! Strings come over as strings, whatever their numbers are on either side.

use proptest::prelude::*;

use super::*;

/// On a thread of its own, which is a worker of process `own`.
fn abroad<R: Send>(tongues: &Arc<Tongues>, work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let tongues = Arc::clone(tongues);
        let worker = scope.spawn(move || {
            enter(tongues);
            work()
        });
        worker.join().expect("no panic there")
    })
}

fn processes(n: usize) -> Vec<(Arc<Names>, Arc<Tongues>)> {
    let own = |own| {
        let names = Arc::new(Names::default());
        (Arc::clone(&names), Arc::new(Tongues::new(own, n, names)))
    };
    (0..n).map(own).collect()
}

proptest! {
    /// Each of two processes interns words, and sends some, in steps: what arrives is the words that were sent.
    #[test]
    fn words_arrive_as_they_were_sent(
        first in prop::collection::vec("[a-zé]{0,6}", 0..40),
        steps in prop::collection::vec(prop::collection::vec("[a-zé]{0,6}", 1..20), 1..6)
    ) {
        let [(ours, here), (theirs, there)] = processes(2).try_into().ok().expect("two");
        for word in &first {
            let _ = theirs.intern(word);
        }
        let mut telling = Telling::default();
        for words in steps {
            let syms: Vec<Sym> = words.iter().map(|word| ours.intern(word)).collect();
            let bytes = abroad(&here, || bincode::serialize(&syms).expect("it serializes"));
            prop_assert!(bytes.len() == 8 + 5 * syms.len());
            there.learn(0, &telling.news(&ours)).expect("it is sound");
            prop_assert!(telling.news(&ours).is_empty());
            let came = abroad(&there, || bincode::deserialize::<Vec<Sym>>(&bytes).expect("it deserializes"));
            let texts: Vec<String> = came.iter().map(|sym| theirs.get(*sym)).collect();
            prop_assert_eq!(&texts, &words);
            let places = |syms: &[Sym]| syms.iter().map(|sym| sym.place()).collect::<Vec<_>>();
            prop_assert_eq!(abroad(&here, || places(&syms)), abroad(&there, || places(&came)));
        }
    }

    /// Whatever else is told of strings, it is taken in or refused.
    #[test]
    fn garbage_is_no_news(told in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..64) {
        let [(ours, _), (_, there)] = processes(2).try_into().ok().expect("two");
        let _ = there.learn(0, &told);
        for word in ["a", "bc", "def"] {
            let _ = ours.intern(word);
        }
        let news = Telling::default().news(&ours);
        let _ = there.learn(0, &news[..news.len().saturating_sub(cut)]);
    }
}

#[test]
fn a_number_that_nobody_told_is_an_error() {
    let [(ours, here), (_, there)] = processes(2).try_into().ok().expect("two");
    let sym = ours.intern("word");
    let bytes = abroad(&here, || bincode::serialize(&sym).expect("it serializes"));
    assert!(abroad(&there, || bincode::deserialize::<Sym>(&bytes)).is_err());
    let beyond = bincode::serialize(&(7u8, 1u32)).expect("it serializes");
    assert!(abroad(&there, || bincode::deserialize::<Sym>(&beyond)).is_err());
}

#[test]
fn at_home_and_for_people_a_number_is_a_number() {
    let [(ours, here), _] = processes(2).try_into().ok().expect("two");
    let sym = ours.intern("word");
    assert_eq!(bincode::serialize(&sym).expect("it serializes").len(), 4);
    assert_eq!(sym.place(), u64::from(sym.raw()));
    let text = abroad(&here, || serde_json::to_string(&sym).expect("it serializes"));
    assert_eq!(text, sym.raw().to_string());
    assert_eq!(abroad(&here, || serde_json::from_str::<Sym>(&text).expect("it deserializes")), sym);
}
