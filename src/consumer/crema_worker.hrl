%% A partition's process: what crema_worker keeps and crema_verdict changes.
-record(worker, {
    slot :: pos_integer(),
    port :: port(),
    group :: pid(),
    place :: {Topic :: binary(), Partition :: non_neg_integer(), Null :: undefined | nil},
    %% the consumer's, as far as they concern its workers
    options :: map(),
    handler :: crema_handler:handler(),
    %% the handler's own
    handler_state :: term(),
    %% in a row, of the message that is the first to do
    failures = 0 :: non_neg_integer(),
    %% messages of the largest batch that the heap was made for
    room = 0 :: non_neg_integer(),
    %% nothing is handled until this timer tells
    wait = none :: none | reference(),
    %% messages of the batch at hand, and batches not yet decoded
    todo = [] :: [crema_consumer:message()],
    batches = queue:new() :: queue:queue(crema_worker:batch()),
    %% one of several workers of the partition: who gives it its shares of batches,
    %% and what is told when the share at hand is done
    parallel = none :: none | pid(),
    share = none :: none | non_neg_integer(),
    %% acknowledged and not yet told
    acked = crema_runs:new() :: crema_runs:runs()
}).
