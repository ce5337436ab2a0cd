defmodule Crema.Kaffe.Producer do
  @moduledoc """
  `Kaffe.Producer`: one producer, configured under `producer`.

      config :crema, Crema.Kaffe,
        producer: [
          endpoints: [kafka: 9092],
          topics: ["orders"],
          partition_strategy: :md5
        ]

  It is started by the first call, or by `start_producer_client/0`; or it is a child of your own
  supervisor: `{Crema.Kaffe.Producer, []}`.

  All functions wait for the brokers' answer, and return `:ok` or `{:error, {code, details}}` (see
  `Crema`). Those that take a list send all of it at once: when some fail, the error is that of the
  first of these, and `details.results` has one for each message. A message is `{key, value}` or a
  map of `:key`, `:value` and, where wanted, `:headers` and `:ts`.

  The producer's name is `:client_name` (`:kaffe_producer_client`), by which the functions of `Crema`
  take it as well.
  """

  alias Crema.Kaffe.{Config, Message, Partitions}

  # Not for ever, for whoever has the name may be anybody.
  @tries 10

  @typedoc "A message of a list."
  @type message ::
          {key :: binary, value :: binary}
          | %{
              required(:key) => binary,
              required(:value) => binary,
              optional(:headers) => [{binary, binary}],
              optional(:ts) => integer
            }

  @typedoc "What all that produces returns."
  @type result :: :ok | Crema.error()

  @doc "A child specification; the options are read at each start."
  @spec child_spec(term) :: Supervisor.child_spec()
  def child_spec(_args) do
    case configured() do
      {:ok, options} -> Crema.Producer.child_spec(options)
      {:error, _told_at_the_start} -> %{}
    end
    |> Map.merge(%{id: __MODULE__, start: {__MODULE__, :start_link, []}})
  end

  @doc "Starts the producer linked to the caller, in the place of one that a call has started."
  @spec start_link() :: {:ok, pid} | {:error, term}
  def start_link do
    with :ok <- :crema_child.running(), do: start_in_place(@tries)
  end

  # What does not run need not be ended. Calls may start another one before this one is there.
  defp start_in_place(tries) do
    _ = Supervisor.terminate_child(:crema_sup, __MODULE__)

    with {:error, {:already_started, _pid}} when tries > 1 <- start_client(),
         do: start_in_place(tries - 1)
  end

  @doc """
  Starts the producer unless it runs. It is supervised by crema's own application; when it has ended,
  the next call starts it again.
  """
  @spec start_producer_client() :: :ok | Crema.error()
  def start_producer_client do
    with {:ok, %{name: name}} <- configured(),
         :ok <- :crema_child.running(),
         do: if(Process.whereis(name), do: :ok, else: start_child())
  end

  defp start_child do
    own = %{start: {__MODULE__, :start_client, []}, restart: :temporary}

    case Supervisor.start_child(:crema_sup, Map.merge(child_spec([]), own)) do
      {:ok, _pid} -> :ok
      {:error, {:already_started, _pid}} -> :ok
      # Another one has the name by now.
      {:error, {{:already_started, _pid}, _child}} -> :ok
      {:error, {reason, _child}} -> {:error, reason}
    end
  end

  @doc false
  @spec start_client() :: {:ok, pid} | {:error, term}
  def start_client do
    with {:ok, options} <- configured(), do: Crema.Producer.start_link(options)
  end

  @doc """
  Produces a list of messages to a topic. `:partition_strategy` in `opts` is for this call: `:md5`,
  `:random`, `:round_robin` or a function of topic, number of partitions, key and value.
  """
  @spec produce(binary, [message], keyword) :: result
  def produce(topic, messages, opts \\ []) do
    with_client(fn client, section ->
      null = Config.null(section)

      own =
        case Keyword.fetch(opts, :partition_strategy) do
          {:ok, strategy} -> [partitioner: Partitions.strategy(strategy, null)]
          :error -> []
        end

      many(client, for(message <- messages, do: Message.produced(topic, message, null)), own)
    end)
  end

  @doc "Produces a list of messages to a topic, or a key and a value to the first topic."
  @spec produce_sync(topic_or_key :: binary, [message] | binary) :: result
  def produce_sync(topic, messages) when is_list(messages), do: produce(topic, messages)

  def produce_sync(key, value) do
    with_client(fn client, %{"topics" => [topic | _]} = section ->
      one(client, Message.produced(topic, {key, value}, Config.null(section)))
    end)
  end

  @doc "Produces a list of messages to a partition of a topic, or a key and a value to a topic."
  @spec produce_sync(topic :: binary, partition_or_key :: term, [message] | binary) :: result
  def produce_sync(topic, partition, messages) when is_list(messages) do
    with_client(fn client, section ->
      null = Config.null(section)
      placed = &Map.put(Message.produced(topic, &1, null), :partition, partition)
      many(client, Enum.map(messages, placed), [])
    end)
  end

  def produce_sync(topic, key, value) do
    with_client(fn client, section ->
      one(client, Message.produced(topic, {key, value}, Config.null(section)))
    end)
  end

  @doc "Produces a key and a value to a partition of a topic."
  @spec produce_sync(topic :: binary, partition :: non_neg_integer, binary, binary) :: result
  def produce_sync(topic, partition, key, value) do
    with_client(fn client, section ->
      message = Message.produced(topic, {key, value}, Config.null(section))
      one(client, Map.put(message, :partition, partition))
    end)
  end

  # ---- the client ------------------------------------------------------------------------

  # `:md5` is the default since Kaffe 1, and topics are not made by being produced to.
  defp configured do
    with {:ok, section} <- Config.producer(),
         {:ok, options} <- Config.options(:producer, section) do
      kafka = %{"allow.auto.create.topics" => false}
      defaults = %{name: Config.client_name(section), partitioner: :md5, kafka: kafka}
      Config.checked(defaults, options, :producer)
    end
  end

  defp with_client(produce) do
    with {:ok, section} <- Config.producer(),
         client = Config.client_name(section),
         :ok <- started(client),
         do: produce.(client, section)
  end

  defp started(client) do
    if is_atom(client) and Process.whereis(client), do: :ok, else: start_producer_client()
  end

  defp one(client, message) do
    with {:ok, _report} <- Crema.produce(client, message), do: :ok
  end

  defp many(_client, [], _opts), do: :ok

  defp many(client, messages, opts) do
    with {:ok, results} <- Crema.produce_many(client, messages, opts) do
      case Enum.find(results, &match?({:error, _reason}, &1)) do
        nil -> :ok
        {:error, {code, details}} -> {:error, {code, Map.put(details, :results, results)}}
      end
    end
  end
end
