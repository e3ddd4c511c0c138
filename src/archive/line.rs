//! Line: one table's row as it lies in the archive. The `table!` macro turns one list of columns into the plain
//! struct, the schema, the builders and the reader, so that a column is one entry and cannot be told two ways.

use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field, Schema};

use crate::record::{Epoch, Names, Tick};

use super::cell::{Cell, Column};

/// A row of a table: its columns, typed.
pub trait Line: Sized {
    /// The table's name, and its folder's.
    const TABLE: &'static str;
    /// What the writer is given for it.
    type Row;
    /// The columns under construction.
    type Columns: Send;
    /// What a row of it is.
    fn about() -> String;
    /// The columns in order, as handed to the Parquet writer.
    fn fields() -> Vec<Field>;
    /// Empty columns.
    fn columns() -> Self::Columns;
    /// The row's tick: its date is the folder's.
    fn tick(row: &Self::Row) -> Tick;
    /// Adds a row.
    fn push(columns: &mut Self::Columns, epoch: Epoch, row: &Self::Row, names: &Names);
    /// The columns so far; leaves them empty.
    fn finish(columns: &mut Self::Columns) -> Vec<ArrayRef>;
    /// Row `at` of columns that lie in the order of `fields`. The error names the column.
    fn read(columns: &[ArrayRef], at: usize, names: &Names) -> Result<Self, String>;
}

/// A column's field; `docs` are the lines of its doc comment.
pub(super) fn field<C: Cell>(name: &str, docs: &[&str]) -> Field {
    Field::new(name, C::Column::data_type(), C::NULLABLE)
        .with_metadata([("description".to_owned(), joined(docs))])
}

pub(super) fn joined(docs: &[&str]) -> String {
    docs.iter().map(|doc| doc.trim()).collect::<Vec<_>>().join(" ")
}

/// A cell of column `name`, with a null turned away where none belongs.
pub(super) fn cell<C: Cell>(
    name: &str,
    from: Option<&ArrayRef>,
    at: usize,
    names: &Names,
) -> Result<C, String> {
    let from = from.ok_or_else(|| format!("column {name:?} is missing"))?;
    if !C::NULLABLE && from.is_null(at) {
        return Err(format!("column {name:?} holds no value in row {at}"));
    }
    C::take(from.as_ref(), at, names).map_err(|fault| format!("column {name:?} {fault}"))
}

/// The table's schema as readers see it: text is text, whether or not it was gathered as a dictionary.
pub(super) fn schema<L: Line>() -> Schema {
    let fields: Vec<Field> = L::fields()
        .into_iter()
        .map(|field| {
            let plain = plain(field.data_type());
            field.with_data_type(plain)
        })
        .collect();
    Schema::new_with_metadata(fields, [("description".to_owned(), L::about())])
}

fn plain(data_type: &DataType) -> DataType {
    if let DataType::Dictionary(_, value) = data_type {
        return value.as_ref().clone();
    }
    if let DataType::List(element) = data_type {
        let element = element.as_ref().clone();
        let inner = plain(element.data_type());
        return DataType::List(element.with_data_type(inner).into());
    }
    data_type.clone()
}

/// One table. `tenant`, `epoch` and `tick` come first in every one.
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        $Line:ident ($Columns:ident) = $table:literal of $row:ident: $Row:ty, $names:ident;
        tenant = $tenant:expr;
        tick = $tick:expr;
        $( $(#[doc = $doc:literal])+ $column:ident: $Cell:ty = $value:expr; )+
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Line {
            /// Whose; empty where it is nobody's in particular.
            pub tenant: Sym,
            /// The turn of ingest at which it was said.
            pub epoch: Epoch,
            /// The second of event time at which it counts; its date is the folder's.
            pub tick: Tick,
            $( $(#[doc = $doc])+ pub $column: $Cell, )+
        }

        #[doc = concat!("Columns of `", $table, "` under construction.")]
        pub struct $Columns {
            tenant: <Sym as Cell>::Column,
            epoch: <Epoch as Cell>::Column,
            tick: <Tick as Cell>::Column,
            $( $column: <$Cell as Cell>::Column, )+
        }

        impl Line for $Line {
            const TABLE: &'static str = $table;
            type Row = $Row;
            type Columns = $Columns;

            fn about() -> String {
                joined(&[$($about),+])
            }

            fn fields() -> Vec<Field> {
                vec![
                    field::<Sym>("tenant", &["Whose; empty where it is nobody's in particular."]),
                    field::<Epoch>("epoch", &["The turn of ingest at which it was said."]),
                    field::<Tick>("tick", &["The second of event time at which it counts; its date is the folder's."]),
                    $( field::<$Cell>(stringify!($column), &[$($doc),+]), )+
                ]
            }

            fn columns() -> $Columns {
                $Columns {
                    tenant: Column::new_column(),
                    epoch: Column::new_column(),
                    tick: Column::new_column(),
                    $( $column: Column::new_column(), )+
                }
            }

            fn tick($row: &$Row) -> Tick {
                $tick
            }

            fn push(columns: &mut $Columns, epoch: Epoch, $row: &$Row, $names: &Names) {
                Put::put($tenant, &mut columns.tenant, $names);
                Put::put(epoch, &mut columns.epoch, $names);
                Put::put($tick, &mut columns.tick, $names);
                $( Put::put($value, &mut columns.$column, $names); )+
            }

            fn finish(columns: &mut $Columns) -> Vec<ArrayRef> {
                vec![
                    ArrayBuilder::finish(&mut columns.tenant),
                    ArrayBuilder::finish(&mut columns.epoch),
                    ArrayBuilder::finish(&mut columns.tick),
                    $( ArrayBuilder::finish(&mut columns.$column), )+
                ]
            }

            fn read(columns: &[ArrayRef], at: usize, names: &Names) -> Result<Self, String> {
                let mut columns = columns.iter();
                Ok($Line {
                    tenant: cell("tenant", columns.next(), at, names)?,
                    epoch: cell("epoch", columns.next(), at, names)?,
                    tick: cell("tick", columns.next(), at, names)?,
                    $( $column: cell(stringify!($column), columns.next(), at, names)?, )+
                })
            }
        }
    };
}
pub(super) use table;
