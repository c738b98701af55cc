//! Migrations run while the functions of the release before still run. So none may break these: it may not drop or rename
//! what they use, make a column narrower, or require what they don't write. A later release may, once no function uses the
//! column or table any more. Then the migration says so, on a line for each such change: `-- contract: the reason`.

use std::{collections::BTreeMap, fs, path::Path};

use sqlparser::{
    ast::{
        AlterColumnOperation, AlterTableOperation, CharacterLength, ColumnOption, DataType, ObjectType, Statement,
        TableConstraint,
    },
    dialect::MySqlDialect,
    parser::Parser,
};

const MARK: &str = "-- contract: ";

/// From before this rule. Their text can't be changed, since databases remember its checksum.
const OLD: [(&str, &str); 1] =
    [("0009_idempotency.sql", "drops a column that the functions before it fill: they had to be stopped")];

/// The columns that exist, by table and name.
type Columns = BTreeMap<(String, String), Column>;

struct Column {
    data_type: DataType,
    is_nullable: bool,
    /// Whether an INSERT that doesn't name it fails.
    is_required: bool,
}

impl Column {
    fn new(data_type: &DataType, options: &[ColumnOption]) -> Self {
        let is_nullable = !options.contains(&ColumnOption::NotNull);
        let has_value = |option: &ColumnOption| {
            // AUTO_INCREMENT is specific to the dialect.
            matches!(
                option,
                ColumnOption::Default(_) | ColumnOption::DialectSpecific(_) | ColumnOption::Generated { .. }
            )
        };
        let is_required = !is_nullable && !options.iter().any(has_value);
        Self { data_type: data_type.clone(), is_nullable, is_required }
    }

    /// Whether everything that fits `before` fits this column.
    fn accepts(&self, before: &Column) -> bool {
        (self.is_nullable || !before.is_nullable)
            && (!self.is_required || before.is_required)
            && match (width(&self.data_type), width(&before.data_type)) {
                (Some((kind, width)), Some((kind_before, width_before))) => {
                    kind == kind_before && width >= width_before
                }
                _ => self.data_type == before.data_type,
            }
    }
}

/// What kind of values a type is for, and how wide it is among the types of this kind.
fn width(data_type: &DataType) -> Option<(&'static str, u64)> {
    Some(match data_type {
        DataType::TinyInt(_) => ("number", 1),
        DataType::SmallInt(_) => ("number", 2),
        DataType::MediumInt(_) => ("number", 3),
        DataType::Int(_) => ("number", 4),
        DataType::BigInt(_) => ("number", 8),
        DataType::Char(Some(CharacterLength::IntegerLength { length, .. })) => ("fixed text", *length),
        DataType::Varchar(Some(CharacterLength::IntegerLength { length, .. })) => ("text", *length),
        DataType::Text => ("text", 1 << 16),
        DataType::MediumText => ("text", 1 << 24),
        DataType::LongText => ("text", 1 << 32),
        _ => return None,
    })
}

/// What a migration does that may break running functions.
fn breaks(sql: &str, columns: &mut Columns) -> Vec<String> {
    let statements = Parser::parse_sql(&MySqlDialect {}, sql).unwrap_or_else(|error| panic!("{error} in {sql}"));
    statements.iter().flat_map(|statement| statement_breaks(statement, columns)).collect()
}

fn statement_breaks(statement: &Statement, columns: &mut Columns) -> Vec<String> {
    match statement {
        Statement::CreateTable(table) => {
            for column in &table.columns {
                let options: Vec<_> = column.options.iter().map(|option| option.option.clone()).collect();
                let key = (table.name.to_string(), column.name.value.clone());
                columns.insert(key, Column::new(&column.data_type, &options));
            }
            Vec::new()
        }
        Statement::AlterTable(alter) => {
            let broken =
                |operation: &&AlterTableOperation| breaks_functions(&alter.name.to_string(), operation, columns);
            alter.operations.iter().filter(broken).map(|operation| format!("{} {operation}", alter.name)).collect()
        }
        Statement::CreateIndex(index) if !index.unique => Vec::new(),
        Statement::Drop { object_type: ObjectType::Index, .. } => Vec::new(),
        Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => Vec::new(),
        other => vec![other.to_string()],
    }
}

/// Whatever is not known to be harmless may break them.
fn breaks_functions(table: &str, operation: &AlterTableOperation, columns: &mut Columns) -> bool {
    match operation {
        AlterTableOperation::AddColumn { column_def, .. } => {
            let options: Vec<_> = column_def.options.iter().map(|option| option.option.clone()).collect();
            let column = Column::new(&column_def.data_type, &options);
            let is_required = column.is_required;
            columns.insert((table.to_owned(), column_def.name.value.clone()), column);
            is_required
        }
        AlterTableOperation::ModifyColumn { col_name, data_type, options, .. } => {
            let column = Column::new(data_type, options);
            let key = (table.to_owned(), col_name.value.clone());
            let is_harmless = columns.get(&key).is_some_and(|before| column.accepts(before));
            columns.insert(key, column);
            !is_harmless
        }
        AlterTableOperation::AlterColumn { op: AlterColumnOperation::SetDefault { .. }, .. }
        | AlterTableOperation::AddConstraint { constraint: TableConstraint::Index(_), .. }
        | AlterTableOperation::DropIndex { .. } => false,
        _ => true,
    }
}

fn marks(sql: &str) -> usize {
    sql.lines().filter(|line| line.strip_prefix(MARK).is_some_and(|reason| !reason.trim().is_empty())).count()
}

#[test]
fn no_migration_breaks_running_functions() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "{files:?}");
    let mut columns = Columns::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let sql = fs::read_to_string(&file).unwrap();
        let breaks = breaks(&sql, &mut columns);
        if OLD.iter().any(|(old, _)| *old == name) {
            assert!(!breaks.is_empty(), "{name} needs no exception");
            continue;
        }
        assert_eq!(
            breaks.len(),
            marks(&sql),
            "{name}: may break the functions that still run, so that each needs a line `{MARK}…`: {breaks:#?}"
        );
    }
}

#[test]
fn what_breaks_running_functions_is_found() {
    const TABLE: &str = "CREATE TABLE t (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, a VARCHAR(20) NOT NULL,
                         b INT NULL, c INT NOT NULL DEFAULT 0, d CHAR(26) NOT NULL);";
    let is_broken_by = |sql: &str| {
        let mut columns = Columns::new();
        assert_eq!(breaks(TABLE, &mut columns), Vec::<String>::new());
        !breaks(sql, &mut columns).is_empty()
    };
    for sql in [
        "DROP TABLE t",
        "RENAME TABLE t TO u",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE t DROP COLUMN a",
        "ALTER TABLE t RENAME COLUMN a TO e",
        "ALTER TABLE t CHANGE COLUMN a e VARCHAR(20) NOT NULL",
        "ALTER TABLE t ADD COLUMN e INT NOT NULL",
        "ALTER TABLE t ADD COLUMN e INT NULL, DROP COLUMN b",
        "ALTER TABLE t MODIFY COLUMN a VARCHAR(19) NOT NULL",
        "ALTER TABLE t MODIFY COLUMN a CHAR(20) NOT NULL",
        "ALTER TABLE t MODIFY COLUMN b SMALLINT NULL",
        "ALTER TABLE t MODIFY COLUMN b INT NOT NULL",
        "ALTER TABLE t MODIFY COLUMN c INT NOT NULL",
        "ALTER TABLE t MODIFY COLUMN unknown INT NULL",
        "ALTER TABLE t ALTER COLUMN c DROP DEFAULT",
        "ALTER TABLE t ADD CONSTRAINT uq_a UNIQUE (a)",
        "ALTER TABLE t ADD CONSTRAINT ck_b CHECK (b > 0)",
        "CREATE UNIQUE INDEX ux_a ON t (a)",
    ] {
        assert!(is_broken_by(sql), "{sql}");
    }
    for sql in [
        "CREATE TABLE u (id BIGINT NOT NULL PRIMARY KEY)",
        "ALTER TABLE t ADD COLUMN e INT NULL, ADD COLUMN f INT NOT NULL DEFAULT 1",
        "ALTER TABLE t MODIFY COLUMN a VARCHAR(200) NOT NULL",
        "ALTER TABLE t MODIFY COLUMN a TEXT NULL",
        "ALTER TABLE t MODIFY COLUMN b BIGINT NULL",
        "ALTER TABLE t MODIFY COLUMN d CHAR(26) NULL",
        "ALTER TABLE t ADD INDEX ix_a (a, b), DROP INDEX ix_b",
        "ALTER TABLE t ALTER COLUMN b SET DEFAULT 1",
        "CREATE INDEX ix_a ON t (a)",
        "UPDATE t SET a = '' WHERE b IS NULL",
    ] {
        assert!(!is_broken_by(sql), "{sql}");
    }
    assert_eq!(marks("-- contract: since 0.2 no function uses it\nALTER TABLE t DROP COLUMN a;"), 1);
    assert_eq!(marks("-- contract: \n-- about a contract: none"), 0);
}
