-- At every start this makes the roles and the database of the stack, or brings them up to date.
-- Passwords are read from the files in the folder $SECRETS.
\set ON_ERROR_STOP 1
\set owner_password `cat "$SECRETS/postgres_owner_password"`
\set app_password `cat "$SECRETS/postgres_app_password"`
\set monitor_password `cat "$SECRETS/postgres_monitor_password"`
\set backup_password `cat "$SECRETS/postgres_backup_password"`
SET client_min_messages = 'warning';

SELECT format('CREATE ROLE %I', role)
  FROM unnest(ARRAY['listo_owner', 'listo_app', 'listo_monitor', 'listo_backup']) AS role
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec

-- Owns the database and its schemas; `listo migrate` runs as it.
ALTER ROLE listo_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
      PASSWORD :'owner_password';
-- The API and the worker. `listo migrate` grants it what it needs (DATABASE_APP_ROLE).
ALTER ROLE listo_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
      PASSWORD :'app_password';
ALTER ROLE listo_monitor LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
      PASSWORD :'monitor_password';
ALTER ROLE listo_backup LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE REPLICATION NOBYPASSRLS
      PASSWORD :'backup_password';

-- Migrations also change collections' tables, which belong to listo_app.
GRANT listo_app TO listo_owner;
GRANT pg_monitor TO listo_monitor;
GRANT pg_read_all_settings, pg_read_all_stats, pg_checkpoint TO listo_backup;
GRANT pg_use_reserved_connections TO listo_monitor, listo_backup;

-- A client's own limits override these: the API, the worker and migrations set limits of their own.
-- listo_app has no lock_timeout: an index that is built concurrently waits for old snapshots.
ALTER ROLE listo_app SET statement_timeout = '30s';
ALTER ROLE listo_app SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE listo_owner SET statement_timeout = '10min';
ALTER ROLE listo_owner SET idle_in_transaction_session_timeout = '5min';
ALTER ROLE listo_owner SET lock_timeout = '4s';
ALTER ROLE listo_monitor SET statement_timeout = '10s';
-- The size of a locked table is not known before the lock ends. All else is to be measured
-- meanwhile, so this is well below the 10 s that Prometheus waits.
ALTER ROLE listo_monitor SET lock_timeout = '2s';
ALTER ROLE listo_monitor SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE listo_monitor SET default_transaction_read_only = on;

SELECT 'CREATE DATABASE listo OWNER listo_owner'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'listo') \gexec
ALTER DATABASE listo OWNER TO listo_owner;
REVOKE ALL ON DATABASE listo, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE listo TO listo_app, listo_monitor, listo_backup;
-- Imports stage their files in temporary tables.
GRANT TEMPORARY ON DATABASE listo TO listo_app;
GRANT CONNECT ON DATABASE postgres TO listo_monitor, listo_backup;


-- The functions of pgBackRest, which connects to `postgres`, or to the database that it is told.
\ir backup.sql
\connect listo
SET client_min_messages = 'warning';
\ir backup.sql
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
