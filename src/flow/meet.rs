//! Meet: differential's join and reduce, where a key's records go by [`Sym::place`](crate::record::Sym::place) and so meet at
//! one worker whichever process they come from. Differential's own go by a hash of the key, which for interned strings is
//! one of numbers that each process has its own of.
//!
//! State: both sides' arrangements; of a reduction its input's and its output's.

use differential_dataflow::ExchangeData;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent, arrangement::arrange_core};
use differential_dataflow::trace::implementations::{ValBatcher, ValBuilder, ValSpine};
use timely::dataflow::channels::pact::Exchange;

use super::Flow;
use crate::record::{Diff, Epoch};

type Spine<K, V> = ValSpine<K, V, Epoch, Diff>;
type Kept<'scope, K, V> = Arranged<'scope, TraceAgent<Spine<K, V>>>;

fn arranged<'scope, K: ExchangeData, V: ExchangeData>(
    flow: Flow<'scope, (K, V)>,
    name: &str,
    place: fn(&K) -> u64,
) -> Kept<'scope, K, V> {
    let route = Exchange::new(move |((key, _), _, _): &((K, V), Epoch, Diff)| place(key));
    arrange_core::<_, _, ValBatcher<K, V, Epoch, Diff>, Spine<K, V>>(flow.inner, route, name, ValBatcher::new)
}

/// What `logic` makes of each pair with the same key, that lives at `place`.
#[must_use]
pub fn joined<'scope, K, V, W, X>(
    one: Flow<'scope, (K, V)>,
    other: Flow<'scope, (K, W)>,
    place: fn(&K) -> u64,
    mut logic: impl FnMut(&K, &V, &W) -> X + 'static,
) -> Flow<'scope, X>
where
    K: ExchangeData,
    V: ExchangeData,
    W: ExchangeData,
    X: ExchangeData,
{
    let (one, other) = (arranged(one, "joined", place), arranged(other, "joined with", place));
    one.join_core(other, move |key, a, b| Some(logic(key, a, b)))
}

/// What `logic` makes of all values of each key, that lives at `place`.
#[must_use]
pub fn reduced<K, V, X>(
    flow: Flow<'_, (K, V)>,
    place: fn(&K) -> u64,
    logic: impl FnMut(&K, &[(&V, Diff)], &mut Vec<(X, Diff)>) + 'static,
) -> Flow<'_, (K, X)>
where
    K: ExchangeData,
    V: ExchangeData,
    X: ExchangeData,
{
    arranged(flow, "reduced", place)
        .reduce_abelian::<_, ValBuilder<_, _, _, _>, Spine<K, X>, _, _>(
            "reduce",
            logic,
            |out, key, changes| {
                out.clear();
                out.extend(changes.drain(..).map(|(value, time, diff)| ((key.clone(), value), time, diff)));
            },
        )
        .as_collection(|key, value| (key.clone(), value.clone()))
}
