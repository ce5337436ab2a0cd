defmodule Crema.Kaffe.GroupMemberSupervisor do
  @moduledoc """
  `Kaffe.GroupMemberSupervisor`: a consumer of lists of messages.

      config :crema, Crema.Kaffe,
        consumers: [
          orders: [
            endpoints: [kafka: 9092],
            topics: ["orders"],
            consumer_group: "baristas",
            message_handler: MyApp.MessageProcessor
          ]
        ]

  As a child it is `{Crema.Kaffe.GroupMemberSupervisor, :orders}`. The module is a
  `Crema.Kaffe.MessageHandler`. `Crema.Kaffe.GroupManager.member(:orders)` is the consumer's name for
  the functions of `Crema`.
  """

  alias Crema.Kaffe.{Config, Consumer, GroupManager, Handler, Lists, Turns}

  @doc "A child specification; several in one supervisor are known by their names."
  @spec child_spec(key :: term) :: Supervisor.child_spec()
  def child_spec(key), do: Consumer.child_spec(__MODULE__, key)

  @doc "Starts the consumer of that name under `consumers`, or the one that is configured alone."
  @spec start_link(key :: term) :: {:ok, pid} | {:error, term}
  def start_link(key \\ []) do
    with {:ok, section} <- Config.consumer(key),
         {:ok, options} <- Config.options(:consumer, section),
         {:ok, args} <- Handler.args(section, :handle_messages, 1),
         {:ok, checked} <- Config.checked(defaults(key, section, args), options, :consumer),
         :ok <- Turns.start(),
         do: Crema.Consumer.start_link(checked)
  end

  defp defaults(key, section, args) do
    turns = section["worker_allocation_strategy"] != :worker_per_topic_partition
    handler = {Lists, Map.put(args, :turns, turns)}
    %{handler: handler, start: :latest, name: GroupManager.member(key)}
  end
end
