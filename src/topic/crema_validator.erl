%% @doc What a topic handle lets through: the behaviour of validators.
%%
%% A validator is a module of this behaviour, `{Module, Args}' (a module alone
%% has `[]'), or a function of metadata and data.
-module(crema_validator).

-export([validate/3]).

-export_type([validator/0]).

-type validator() ::
    undefined
    | {module(), Args :: term()}
    | fun((Metadata :: term(), Data :: term()) -> ok | {error, term()}).
%% In its form after the options are checked.

%% Judges a message before it is serialized. `Metadata' is what the serializer
%% will get: the message's `metadata', or its `value' when it has no metadata;
%% `Data' is its `data', or `undefined'. Messages with neither (tombstones) are
%% not asked about.
-callback validate(Metadata :: term(), Data :: term(), Args :: term()) ->
    ok | {error, Reason :: term()}.

%% @private What a user's returns may be anything.
-spec validate(validator(), Metadata :: term(), Data :: term()) -> ok | {error, term()} | term().
validate(undefined, _Metadata, _Data) -> ok;
validate({Module, Args}, Metadata, Data) -> Module:validate(Metadata, Data, Args);
validate(Fun, Metadata, Data) -> Fun(Metadata, Data).
