%% A run that is made up: its topics, and what of it is known.
-define(PLAIN, <<"plain">>).
-define(BOOKED, <<"booked">>).
-define(COPIES, <<"copies">>).
-define(PARTITIONS, 3).

%% Beside what is told of them: `log', each partition's entries from the last to the
%% first with who can read them, and its end; `parts', how far each group has come.
-record(run, {
    at = 1000000000 :: integer(),
    entries = [] :: [crema_chaos_history:entry()],
    names = 0 :: integer(),
    processes :: #{term() => {Process :: integer(), Next :: integer(), Node :: term()}},
    log = #{} :: #{term() => {End :: integer(), [{integer(), term(), boolean()}]}},
    parts = #{} :: #{term() => map()},
    %% reports that come later, and clients whose messages are in doubt
    late = [] :: [map()],
    doubtful = [] :: [term()],
    fault = none :: term()
}).
