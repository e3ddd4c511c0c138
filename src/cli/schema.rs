//! `quell schema`: JSON Schemas of plan files and of the archive's tables, as the code has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use arrow_schema::{DataType, Field, Schema};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Failure, Output};
use crate::archive::table_schemas;
use crate::cluster::ClusterFile;
use crate::plan::correlation::CorrelationFile;
use crate::plan::mapping::Mapping;
use crate::plan::pipeline::Pipeline;
use crate::plan::playbook::{Applicability, EXTENSION, Parameters};
use crate::plan::policy::Policy;

/// Print the JSON Schema of a plan file or of one of the archive's tables; without a name, list them.
///
/// Example: quell schema correlation
#[derive(clap::Args)]
pub(crate) struct Args {
    /// pipeline, mapping, correlation, policy, playbook, cluster, or a table of the archive.
    name: Option<String>,
    /// Write all of them into a folder, each as NAME.json.
    #[arg(long, value_name = "FOLDER", conflicts_with = "name")]
    write: Option<PathBuf>,
    /// How to report; `json` without a name gives all in one object.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let all = all();
    if let Some(folder) = &args.write {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, schema) in &all {
            let file = folder.join(format!("{name}.json"));
            std::fs::write(&file, format!("{schema:#}\n"))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        return Ok(());
    }
    match (&args.name, args.output) {
        (Some(name), output) => {
            let schema = all.get(name.as_str()).ok_or_else(|| {
                let names: Vec<&str> = all.keys().copied().collect();
                Failure::Usage(format!("there is no schema {name:?}; there are {}", names.join(", ")))
            })?;
            match output {
                Output::Text => say!("{schema:#}"),
                Output::Json => say!("{schema}"),
            }
        }
        (None, Output::Json) => say!("{}", serde_json::to_string(&all)?),
        (None, Output::Text) => {
            for (name, schema) in &all {
                let about = schema["description"].as_str().unwrap_or_default();
                say!("{name:<12} {}", about.lines().next().unwrap_or_default());
            }
        }
    }
    Ok(())
}

fn all() -> BTreeMap<&'static str, Value> {
    let mut all = BTreeMap::from([
        ("pipeline", of::<Pipeline>()),
        ("mapping", of::<Mapping>()),
        ("correlation", of::<CorrelationFile>()),
        ("policy", of::<Policy>()),
        ("cluster", of::<ClusterFile>()),
        ("playbook", playbook()),
    ]);
    all.extend(table_schemas().into_iter().map(|(name, schema)| (name, table(name, &schema))));
    all
}

fn of<T: JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

/// What Quell adds to a CACAO 2.0 playbook; the standard has the rest.
fn playbook() -> Value {
    let mut generator: SchemaGenerator = SchemaSettings::draft2020_12().into_generator();
    let applies = generator.subschema_for::<Applicability>();
    let parameters = generator.subschema_for::<Parameters>();
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Playbook",
        "description": "What Quell's extension adds to a CACAO 2.0 playbook: when it applies, and what each step does and may do.",
        "type": "object",
        "required": ["playbook_extensions", "workflow"],
        "properties": {
            "playbook_extensions": {
                "type": "object",
                "required": [EXTENSION],
                "properties": { EXTENSION: applies },
            },
            "workflow": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "step_extensions": { "type": "object", "properties": { EXTENSION: parameters } },
                    },
                },
            },
        },
        "$defs": definitions,
    })
}

/// A row of a table, as JSON would write it; `x-arrow` is the type that readers of the Parquet files get.
fn table(name: &str, schema: &Schema) -> Value {
    let columns: Map<String, Value> =
        schema.fields().iter().map(|field| (field.name().clone(), column(field))).collect();
    let required: Vec<&str> =
        schema.fields().iter().filter(|f| !f.is_nullable()).map(|f| f.name().as_str()).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "description": schema.metadata().get("description"),
        "type": "object",
        "properties": columns,
        "required": required,
        "additionalProperties": false,
    })
}

fn column(field: &Field) -> Value {
    let mut said = of_type(field.data_type());
    if field.is_nullable() {
        said["type"] = json!([said["type"], "null"]);
    }
    said["description"] = json!(field.metadata().get("description"));
    said["x-arrow"] = json!(field.data_type().to_string());
    said
}

fn of_type(data_type: &DataType) -> Value {
    if let DataType::List(element) = data_type {
        json!({ "type": "array", "items": of_type(element.data_type()) })
    } else if matches!(data_type, DataType::Timestamp(..)) {
        json!({ "type": "string", "format": "date-time" })
    } else if *data_type == DataType::Boolean {
        json!({ "type": "boolean" })
    } else if data_type.is_integer() {
        json!({ "type": "integer" })
    } else if data_type.is_floating() {
        json!({ "type": "number" })
    } else {
        json!({ "type": "string" })
    }
}
