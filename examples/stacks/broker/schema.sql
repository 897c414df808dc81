-- The broker's database, which setup makes.
\getenv password PASSWORD
CREATE EXTENSION pgcrypto;
CREATE ROLE broker LOGIN PASSWORD :'password';

CREATE TABLE account (
	name text PRIMARY KEY,
	password text NOT NULL -- crypt(PASSWORD, gen_salt('bf'))
);
INSERT INTO account SELECT 'student' || n, crypt('desktop' || n, gen_salt('bf', 8)) FROM generate_series(1, 8) n;

-- Who changes the state of a session:
--   waiting  a web worker, at the log-in; the machine is not on yet
--   active   the manager of machines, when the machine is ready
--   left     a web worker, at the log-out, or the monitor, because the client died
--   over     the manager of machines, when the machine is off
CREATE TABLE session (
	id text PRIMARY KEY,
	account text NOT NULL REFERENCES account,
	machine integer NOT NULL,
	state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'active', 'left', 'over')),
	reason text NOT NULL DEFAULT '',
	begun timestamptz NOT NULL DEFAULT now()
);
-- A machine belongs to one session at a time.
CREATE UNIQUE INDEX ON session (machine) WHERE state <> 'over';

-- The manager of machines listens for changes.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NOTIFY session; RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT OR UPDATE ON session EXECUTE FUNCTION tell();

-- Whose the messages of the queue pool are.
CREATE TABLE task (id text PRIMARY KEY, account text NOT NULL REFERENCES account);

GRANT SELECT ON account TO broker;
GRANT SELECT, INSERT, UPDATE ON session TO broker;
GRANT SELECT, INSERT ON task TO broker;
