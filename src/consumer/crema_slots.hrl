%% The slots of a group's member: what crema_slots keeps, and crema_handover hands
%% over to another client.
-record(slot, {
    topic :: binary(),
    partition :: non_neg_integer(),
    worker = none :: none | pid(),
    %% what its handler is at, and a timer for that while it is at something; there
    %% may be several processes of one worker
    watched = #{} :: #{pid() => {crema_liveness:cell(), none | reference()}},
    %% it took too long at that message, which had failed so often, and was killed
    overdue = none :: none | {crema_liveness:given(), Tries :: non_neg_integer()},
    restarts = crema_restarts:new() :: crema_restarts:restarts(),
    %% paused by a failure: no worker is started until that is over
    resting = false :: boolean(),
    revoked = false :: boolean(),
    %% a handler was told of the assignment
    told = false :: boolean(),
    %% the worker is that of the generation before, and ends
    renewed = false :: boolean(),
    %% what becomes of it when another client takes the place of this one: the worker
    %% does nothing more; the client is gone; the new one has the partition
    handover = none :: none | parked | kept | back,
    %% where to go on then, if nothing is committed
    position = none :: none | non_neg_integer()
}).

-record(slots, {
    work :: crema_slots:work(),
    all = #{} :: #{crema_slots:id() => #slot{}},
    monitors = #{} :: #{reference() => crema_slots:id()},
    %% workers of slots that were lost, which may come back meanwhile
    leaving = #{} :: #{pid() => crema_group_events:place()},
    paused = crema_paused:new() :: crema_paused:paused(),
    %% since when a revocation is being drained
    draining = none :: none | integer(),
    drain_timer = none :: none | reference(),
    %% workers are to do nothing more: another client takes the place of this one
    parking = false :: boolean(),
    %% what slots were called below the clients before
    moved = #{} :: #{crema_slots:id() => crema_slots:id()}
}).
