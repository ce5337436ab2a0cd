%% @doc Which partition a topic handle's messages go to: the behaviour of
%% partition selectors.
%%
%% A selector is a module of this behaviour, `{Module, Args}' (a module alone has
%% `[]'), or a function of metadata, requested partition and count.
-module(crema_selector).

-export([select/4]).

-export_type([selector/0, requested/0]).

-type selector() ::
    undefined
    | {module(), Args :: term()}
    | fun((Metadata :: term(), requested(), Count :: pos_integer()) -> integer()).
%% In its form after the options are checked.

-type requested() :: non_neg_integer() | undefined.
%% The message's own `partition'.

%% The partition, from 0 to `Count' - 1; -1 leaves it to the producer. `Metadata'
%% is what the serializer will get, `undefined' in a tombstone.
-callback select(
    Metadata :: term(), requested(), Count :: pos_integer(), Args :: term()
) -> integer().

%% @private Without a selector a requested partition beyond the last is taken
%% modulo the count, as Mofka does.
-spec select(selector(), Metadata :: term(), requested(), Count :: pos_integer()) -> integer().
select(undefined, _Metadata, Requested, Count) -> Requested rem Count;
select({Module, Args}, Metadata, Requested, Count) -> Module:select(Metadata, Requested, Count, Args);
select(Fun, Metadata, Requested, Count) -> Fun(Metadata, Requested, Count).
