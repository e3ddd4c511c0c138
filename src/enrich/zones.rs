//! `zones`: which network zone an address lies in, by the longest prefix, as either side changes.
//!
//! In: the addresses that open incidents have, by tenant; the rows of zones, about networks. Out: rows of zones about
//! these addresses.
//! State: the arrangements of both sides: an entry per address and bucket that it lies in (5 for IPv4, 17 for IPv6), and
//! per network 1 to 128.
//!
//! Addresses and networks meet in buckets: see [`Net::made_of`]. So a changed row meets exactly the addresses in it, however
//! many others there are, and whatever prefixes are in use.

use std::cmp::Reverse;
use std::sync::Arc;

use differential_dataflow::Hashable;

use crate::flow::{Flow, joined, reduced, route};
use crate::record::{ContextRow, Diff, Entity, EntityKind, Known, Names, Net, Sym};

/// The address that an entity is.
fn address(entity: Entity, names: &Names) -> Option<Net> {
    (entity.kind == EntityKind::Ip).then(|| names.with(entity.value, Net::of_address)).flatten()
}

/// Builds the join; rows of other tables are passed over.
#[must_use]
pub fn zones<'scope>(
    addresses: Flow<'scope, (Sym, Entity)>,
    tables: Flow<'scope, (Entity, ContextRow)>,
    names: &Arc<Names>,
) -> Flow<'scope, (Entity, ContextRow)> {
    let (of_address, of_table, by_text) = (Arc::clone(names), Arc::clone(names), Arc::clone(names));
    let addresses = addresses.flat_map(move |(tenant, entity)| {
        let buckets = address(entity, &of_address).into_iter().flat_map(Net::lies_in);
        buckets.map(move |bucket| (bucket, (tenant, entity)))
    });
    let networks =
        tables.filter(|(_, row)| matches!(row.known, Known::Zones { .. })).flat_map(move |(entity, row)| {
            let net = of_table.with(entity.value, Net::parse);
            net.into_iter()
                .flat_map(move |net| net.made_of().map(move |bucket| (bucket, (net.length(), row))))
        });
    let met = joined(addresses, networks, Hashable::hashed, |_, address, network| (*address, *network))
        .filter(|((tenant, _), (_, row))| row.tenant == Sym::EMPTY || row.tenant == *tenant);
    let best = move |rows: &[(&(u8, ContextRow), Diff)]| {
        // Of two rows of one network the tenant's own goes first, then the one whose name does.
        let row = rows
            .iter()
            .map(|(row, _)| **row)
            .min_by_key(|(length, row)| (Reverse(*length), row.tenant == Sym::EMPTY, rank(row, &by_text)));
        row.map(|(_, row)| (row, 1))
    };
    let home = |(tenant, entity): &(Sym, Entity)| route(*tenant) ^ route(entity.value);
    reduced(met, home, move |_, rows, out| out.extend(best(rows)))
        .map(|((tenant, entity), row)| (entity, ContextRow { tenant, ..row }))
}

/// What orders two rows of one network: text, never the number of a name.
fn rank(row: &ContextRow, names: &Names) -> impl Ord + use<> {
    let Known::Zones { zone, exposure } = row.known else { return None };
    Some((names.get(zone), exposure, row.protected))
}

#[cfg(test)]
mod tests;
