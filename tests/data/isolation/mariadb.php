<?php

/* The same as isolation.php, for what a connection to MariaDB keeps, and for connections that it has closed. */

$statements = [
    'set @left = 1', 'select @left := 1', 'select 1 as a, @left := 1', 'select 1 into @left', 'do @left := 1', 'insert into notes (text) values (@left := 1)',
    '/* a */ -- b'."\n".'set @left = 1', "# a\nset @left = 1", 'select 1; set @left = 1', 'execute immediate "set @left = 1"',
    'begin not atomic set @left = 1; end',
];

return [
    'connection that MariaDB has killed' => ['change' => '\App\Support\Proofs::killMaria();', 'read' => 'return [DB::connection("maria")->selectOne("select 1 as one")->one, app("left.maria")->selectOne("select 2 as two")->two];'],
    'connection that MariaDB has closed because nobody used it' => ['change' => 'try { \App\Support\Proofs::otherMaria("set global wait_timeout = 1"); DB::purge("maria"); \App\Support\Proofs::waitUntilGone(\App\Support\Proofs::mariaId()); } finally { \App\Support\Proofs::otherMaria("set global wait_timeout = 28800"); }', 'read' => 'return DB::connection("maria")->selectOne("select 1 as one")->one;'],
    'connection that MariaDB has killed in the call' => ['change' => '\App\Support\Proofs::killMaria(); DB::connection("maria")->select("select 1"); \App\Support\Proofs::killMaria(); DB::connection("maria")->transaction(fn () => DB::connection("maria")->select("select 1"));', 'read' => 'return DB::connection("maria")->selectOne("select 1 as one")->one;'],
    'transaction of MariaDB' => ['change' => 'DB::connection("maria")->beginTransaction(); DB::connection("maria")->table("notes")->insert(["text" => "left"]);', 'read' => 'return [DB::connection("maria")->transactionLevel(), DB::connection("maria")->table("notes")->count(), \App\Support\Proofs::otherMaria("select count(*) from information_schema.innodb_trx")];'],
    'transaction of MariaDB that was killed' => ['change' => 'DB::connection("maria")->beginTransaction(); DB::connection("maria")->table("notes")->insert(["text" => "left"]); \App\Support\Proofs::killMaria();', 'read' => 'return [DB::connection("maria")->transactionLevel(), DB::connection("maria")->table("notes")->count(), app("left.maria")->selectOne("select 2 as two")->two];'],
    'transaction of MariaDB, by PDO' => ['change' => 'DB::connection("maria")->getPdo()->beginTransaction(); DB::connection("maria")->table("notes")->insert(["text" => "left"]);', 'read' => 'return [DB::connection("maria")->getPdo()->inTransaction(), DB::connection("maria")->table("notes")->count()];'],
    'transaction of MariaDB, by PDO, that was killed' => ['change' => 'DB::connection("maria")->getPdo()->beginTransaction(); DB::connection("maria")->table("notes")->insert(["text" => "left"]); \App\Support\Proofs::killMaria();', 'read' => 'return [DB::connection("maria")->getPdo()->inTransaction(), DB::connection("maria")->table("notes")->count(), app("left.maria")->selectOne("select 2 as two")->two];'],
    'transaction of MariaDB, in a statement' => ['change' => 'DB::connection("maria")->statement("start transaction"); DB::connection("maria")->table("notes")->insert(["text" => "left"]);', 'read' => 'return [DB::connection("maria")->table("notes")->count(), \App\Support\Proofs::otherMaria("select count(*) from information_schema.innodb_trx")];'],
    'settings of MariaDB' => ['change' => 'DB::connection("maria")->statement("set session sql_mode = \"ANSI\", max_statement_time = 7");', 'read' => 'return DB::connection("maria")->selectOne("select @@sql_mode as mode, @@max_statement_time as time");'],
    'autocommit of MariaDB' => ['change' => 'DB::connection("maria")->unprepared("set autocommit = 0; insert into notes (text) values (\"left\")");', 'read' => 'return [DB::connection("maria")->selectOne("select @@autocommit as auto"), DB::connection("maria")->table("notes")->count()];'],
    ...array_combine(array_map(static fn (string $statement) => "variable of MariaDB: $statement", $statements), array_map(static fn (string $statement) => ['change' => 'DB::connection("maria")->unprepared('.var_export($statement, true).');', 'read' => 'return DB::connection("maria")->selectOne("select @left as a")->a;'], $statements)),
    'temporary tables of MariaDB' => ['change' => 'DB::connection("maria")->statement("create temporary table left_here (a int)");', 'read' => 'try { return count(DB::connection("maria")->select("select * from left_here")); } catch (\Throwable) { return "none"; }'],
    'named locks of MariaDB' => ['change' => 'DB::connection("maria")->select("select get_lock(\"left\", 0)");', 'read' => 'return \App\Support\Proofs::otherMaria("select is_free_lock(\"left\")");'],
    'named locks of MariaDB, in other statements' => ['change' => 'DB::connection("maria")->statement("do get_lock(\"left\", 0)"); DB::connection("maria")->select("select 1 as a, GET_LOCK(\"left\", 0) as b");', 'read' => 'return \App\Support\Proofs::otherMaria("select is_free_lock(\"left\")");'],
    'locked tables of MariaDB' => ['change' => 'DB::connection("maria")->unprepared("lock tables notes write");', 'read' => 'return \App\Support\Proofs::otherMaria("set lock_wait_timeout = 1", "select count(*) from notes");'],
    'global lock of MariaDB' => ['change' => 'DB::connection("maria")->unprepared("flush tables with read lock");', 'read' => 'return \App\Support\Proofs::otherMaria("set lock_wait_timeout = 1", "insert into notes (text) values (\"x\")", "delete from notes", "select count(*) from notes");'],
    'database of MariaDB' => ['change' => 'DB::connection("maria")->statement("use information_schema");', 'read' => 'return DB::connection("maria")->selectOne("select database() as name")->name;'],
    'procedures of MariaDB' => ['change' => 'DB::connection("maria")->unprepared("create or replace procedure remember() set @left = 1"); DB::connection("maria")->statement("call remember()");', 'read' => 'return DB::connection("maria")->selectOne("select @left as a")->a;'],
    'connections to MariaDB that a provider has set up' => ['change' => 'DB::connection("kept")->statement("set @left = 2");', 'read' => 'return DB::connection("kept")->selectOne("select @left as a")->a;', 'replaced' => true],
];
