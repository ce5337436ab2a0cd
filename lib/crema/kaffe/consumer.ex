defmodule Crema.Kaffe.Consumer do
  @moduledoc """
  `Kaffe.Consumer`: a consumer of single messages.

      config :crema, Crema.Kaffe,
        consumer: [
          endpoints: [kafka: 9092],
          topics: ["orders"],
          consumer_group: "baristas",
          message_handler: MyApp.MessageProcessor
        ]

  As a child it is `Crema.Kaffe.Consumer`, or `{Crema.Kaffe.Consumer, :name}` for one of several
  under `consumers`. The module has `handle_message/1`, which returns `:ok` when the message is done.
  `{:error, reason}`, an exception and anything else has it handled again, after a pause.

  With `async_message_ack: true` it has `handle_message/2` instead, with a pid and the message. It
  returns `:ok` as well, and when the message is done somebody calls `ack/2`. Nothing behind a message
  that is not acknowledged is committed.
  """

  alias Crema.Kaffe.{Config, Handler, Single}

  @typedoc """
  A message. That of a single consumer has `:attributes` (0), `:magic_byte` (2) and `:crc` (`nil`) as
  well, and with `async_message_ack` the `:token` by which it is acknowledged.
  """
  @type message :: %{
          required(:topic) => binary,
          required(:partition) => non_neg_integer,
          required(:offset) => non_neg_integer,
          required(:key) => binary | nil,
          required(:value) => binary | nil,
          required(:ts) => integer,
          required(:ts_type) => :undefined | :create | :append,
          required(:headers) => [{binary, binary | nil}],
          optional(atom) => term
        }

  @doc "A child specification; several in one supervisor are known by their names."
  @spec child_spec(key :: term) :: Supervisor.child_spec()
  def child_spec(key), do: child_spec(__MODULE__, key)

  @doc false
  @spec child_spec(module, key :: term) :: Supervisor.child_spec()
  def child_spec(module, key) do
    %{
      id: if(key in [nil, []], do: module, else: {module, key}),
      start: {module, :start_link, [key]},
      type: :supervisor,
      restart: :transient
    }
  end

  @doc "Starts the consumer that is configured under `consumer`, or of that name under `consumers`."
  @spec start_link(key :: term) :: {:ok, pid} | {:error, term}
  def start_link(key \\ []) do
    with {:ok, section} <- Config.consumer(key), do: start(section)
  end

  @doc "The same for this group, with these topics, this module and this way to acknowledge."
  @spec start_link(binary, [binary], module, boolean) :: {:ok, pid} | {:error, term}
  def start_link(group, topics, handler, async) do
    own = %{
      "consumer_group" => group,
      "topics" => topics,
      "message_handler" => handler,
      "async_message_ack" => async
    }

    with {:ok, section} <- Config.consumer([]), do: section |> Map.merge(own) |> start()
  end

  defp start(section) do
    async = section["async_message_ack"] == true

    with {:ok, options} <- Config.options(:consumer, section),
         {:ok, args} <- Handler.args(section, :handle_message, if(async, do: 2, else: 1)),
         defaults = %{handler: {Single, Map.put(args, :async, async)}, start: :latest},
         {:ok, checked} <- Config.checked(defaults, options, :consumer),
         do: Crema.Consumer.start_link(checked)
  end

  @doc """
  A message is done: the one that `handle_message/2` was given with this pid, or its topic, partition
  and offset in a map.

  `{:error, {:stale_assignment, _}}`: its partition went to another member meanwhile, and it is
  handled once more there.
  """
  @spec ack(pid, message | %{topic: binary, partition: integer, offset: integer}) ::
          :ok | Crema.error()
  def ack(_pid, %{token: token}), do: Crema.ack(token)

  def ack(pid, %{topic: topic, partition: partition, offset: offset}) do
    with {:ok, token} <- :crema_ack.token(pid, {topic, partition}, offset), do: Crema.ack(token)
  end
end
