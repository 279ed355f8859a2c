"""A document with all that a document can hold, in DBGear's own dialect."""

from __future__ import annotations

from typing import Any

QUOTE = 'it\'s 100% "注文" \\ `x` %s ${y}'

TYPES = [
    "TINYINT", "TINYINT(1)", "TINYINT UNSIGNED", "BOOLEAN", "SMALLINT UNSIGNED", "MEDIUMINT UNSIGNED", "INT(11)",
    "INT UNSIGNED", "INT(8) UNSIGNED ZEROFILL", "BIGINT UNSIGNED", "DECIMAL(12,2)", "DECIMAL(12,2) UNSIGNED", "NUMERIC",
    "FLOAT", "FLOAT(53)", "DOUBLE", "REAL", "BIT(1)", "BIT(8)", "CHAR(3)", "VARCHAR(255)", "TINYTEXT", "TEXT",
    "MEDIUMTEXT", "LONGTEXT", "BINARY(16)", "VARBINARY(255)", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB", "DATE",
    "TIME", "TIME(3)", "DATETIME", "DATETIME(6)", "TIMESTAMP", "TIMESTAMP(3)", "YEAR", "JSON",
    "ENUM('a','it''s','50%','\\\\')", "SET('a','b''')",
]  # fmt: skip
SPATIAL = ["GEOMETRY", "POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON"]


def column(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    base = kind.split("(", maxsplit=1)[0]
    return {"columnName": name, "columnType": {"columnType": kind, "baseType": base}, **fields}


def relation(target: str, *pairs: tuple[str, str], **fields: Any) -> dict[str, Any]:
    binds = [{"sourceColumn": source, "targetColumn": to} for source, to in pairs]
    return {"target": {"tableName": target}, "bindColumns": binds, "cardinaritySource": "many", **fields}


ID = column("id", "BIGINT UNSIGNED", nullable=False, primaryKey=0, autoIncrement=True, displayName="番号")

ORDER = {
    "displayName": QUOTE,
    "columns": [
        column("key", "VARCHAR(36)", primaryKey=1, nullable=False, charset="utf8mb4", collation="utf8mb4_bin"),
        column("value", "INT", primaryKey=2, nullable=False, displayName=QUOTE),
        column("select", "VARCHAR(20)", nullable=False, defaultValue="'it''s \\\\ 50%'", displayName="選択"),
        column("rate%", "DECIMAL(5,2)", nullable=False, defaultValue="-1.50"),
        column("note", "TEXT", defaultValue="'none'"),
        column("data", "JSON"),
        column("token", "CHAR(36)", nullable=False, defaultValue="UUID()"),
        column("active", "TINYINT(1)", nullable=False, defaultValue="1"),
        column("bits", "BIT(4)", nullable=False, defaultValue="b'0101'"),
        column("on_day", "DATE", defaultValue="CURRENT_DATE"),
        column("created_at", "DATETIME(6)", nullable=False, defaultValue="CURRENT_TIMESTAMP"),
        column(
            "updated_at",
            "TIMESTAMP(3)",
            nullable=False,
            defaultValue="CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)",
        ),
        column("changed_at", "DATETIME", defaultValue="NULL ON UPDATE CURRENT_TIMESTAMP"),
        column("twice", "INT", expression="`value` * 2"),
        column("thrice", "INT", expression="`value` * 3", stored=True),
        column("colour", "VARCHAR(20)", expression="data->>'$.colour'", stored=True),
        column("user_id", "BIGINT UNSIGNED"),
    ],
    "indexes": [
        {"indexName": "idx_select", "columns": ["select", "value DESC"], "unique": True},
        {"indexName": "idx_note", "columns": ["note(10)", "key(5) DESC"]},
        {"indexName": "uq_note", "columns": ["select(5)", "key"], "unique": True},
        {"indexName": "ft", "columns": ["note", "select"], "indexType": "FULLTEXT"},
        {"indexName": "idx_hash", "columns": ["value"], "indexType": "HASH"},
    ],
    "relations": [
        relation("利用者", ("user_id", "id"), constraintName="fk", onDelete="CASCADE"),
        relation("user", ("user_id", "id"), constraintName="fk", onDelete="SET NULL"),
    ],
    "mysqlOptions": {
        "engine": "InnoDB", "charset": "utf8mb4", "collation": "utf8mb4_unicode_ci", "rowFormat": "DYNAMIC",
    },
}  # fmt: skip


def document() -> dict[str, Any]:
    """Return the part of it that every engine holds."""
    return {
        "schemas": {
            "main": {
                "tables": {
                    "order": ORDER,
                    "user": {
                        "displayName": "利用者",
                        "columns": [
                            ID,
                            column("boss", "BIGINT UNSIGNED"),
                            column("name", "VARCHAR(50)", nullable=False),
                        ],
                        "indexes": [{"indexName": "idx_select", "columns": ["name"]}],
                        "relations": [
                            relation("user", ("boss", "id"), constraintName="fk"),
                            relation("利用者", ("id", "id"), constraintName="fk_cycle"),
                        ],
                    },
                    "利用者": {
                        "displayName": "利用者",
                        "columns": [ID, column("name", "VARCHAR(50)"), column("利 用", "INT")],
                        "relations": [relation("user", ("id", "id"))],
                        "mysqlOptions": {"autoIncrement": 1000},
                    },
                    "types": {
                        "displayName": "types",
                        "columns": [column(f"c{n}", kind, displayName=kind) for n, kind in enumerate(TYPES)],
                    },
                    "by_hash": {
                        "columns": [column("id", "INT", primaryKey=1, nullable=False)],
                        "mysqlOptions": {"partitionBy": "HASH", "partitionExpression": "id", "partitionCount": 4},
                    },
                    "by_range": {
                        "columns": [
                            column("at", "DATE", primaryKey=1, nullable=False),
                            column("id", "INT", primaryKey=2, nullable=False),
                        ],
                        "mysqlOptions": {
                            "partitionBy": "range columns",
                            "partitionExpression": "`at` (PARTITION p0 VALUES LESS THAN ('2026-01-01'), "
                            "PARTITION `p max` VALUES LESS THAN (MAXVALUE))",
                        },
                    },
                    "by_list": {
                        "columns": [column("id", "INT", primaryKey=1, nullable=False)],
                        "mysqlOptions": {
                            "partitionBy": "LIST",
                            "partitionExpression": "(id) (PARTITION odd VALUES IN (1, 3), "
                            "PARTITION even VALUES IN (2))",
                        },
                    },
                },
                "views": {
                    "names": {
                        "displayName": "it's 名前",
                        "selectStatement": "SELECT name, total FROM totals WHERE total > 0 AND name <> 'order.x;'",
                    },
                    "totals": {
                        "displayName": "合計",
                        "selectStatement": "WITH t AS (SELECT user_id, COUNT(*) AS n FROM `order` GROUP BY user_id)\n"
                        "SELECT user.id, main.user.name, IFNULL(t.n, 0) AS total, CONCAT(u2.name, '%') AS boss\n"
                        "FROM main.user LEFT JOIN t ON t.user_id = user.id LEFT JOIN user u2 ON u2.id = user.boss\n"
                        "WHERE user.id NOT IN (SELECT id FROM audit.log) -- all of them\n",
                    },
                },
            },
            "audit": {"tables": {"log": {"columns": [column("id", "BIGINT UNSIGNED", primaryKey=1)]}}},
        }
    }


def routines() -> dict[str, Any]:
    """Return what is in MySQL's language alone: {triggers, procedures, views}."""
    return {
        "triggers": {
            "user_log": {
                "displayName": "記録",
                "tableName": "user",
                "timing": "after",
                "event": "INSERT",
                "condition": "NEW.name <> 'quiet; main.user'",
                "body": "BEGIN\n  INSERT INTO audit.log (id) VALUES (NEW.id);\n  SET @x = ';';\nEND",
            },
            "order_value": {
                "tableName": "order",
                "timing": "BEFORE",
                "event": "UPDATE",
                "body": "SET NEW.value = NEW.value + 1;",
            },
        },
        "procedures": {
            "add_user": {
                "displayName": "it's \\ 追加",
                "parameters": [
                    {"parameterName": "key", "parameterType": "IN", "dataType": "VARCHAR(50)"},
                    {"parameterName": "out id", "parameterType": "OUT", "dataType": "BIGINT UNSIGNED"},
                ],
                "modifiesSqlData": True,
                "body": "BEGIN\n  INSERT INTO user (name) VALUES (`key`); -- ; one\n"
                "  SET `out id` = LAST_INSERT_ID();\nEND;",
            },
            "doubled": {
                "parameters": [{"parameterName": "n", "dataType": "INT"}],
                "returnType": "INT",
                "deterministic": True,
                "body": "RETURN n * 2",
            },
        },
        "views": {
            "recent": {
                "selectStatement": "SELECT doubled(2) AS four, created_at FROM `order` "
                "WHERE created_at > DATE_SUB(NOW(), INTERVAL 1 DAY) AND note REGEXP 'x' AND FIND_IN_SET('a', note) = 0"
            }
        },
    }
